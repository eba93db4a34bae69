"""The pages for people: HTML that the server renders, kept up to date by htmx; no build step, no other network.

The folder `assets` holds two libraries as they were published (htmx, uPlot) beside the style and the scripts of these
pages. Whatever changes something goes through the same API as any other client.
"""
