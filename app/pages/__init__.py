"""Web pages: HTML rendered by the server and updated by htmx, without a build step or external requests.

The folder `assets` holds two unmodified libraries (htmx, uPlot), and the style and scripts of these pages. All changes
go through the same API as those of other clients.
"""
