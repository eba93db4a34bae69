"""The sweep as a chart: accuracy against bytes."""

from nern_core.analysis.charts import Series, line_chart
from nern_core.analysis.meta_compression.model import MetaCompression, Method, Subject

_NAMES = {
    (Subject.NERN, Method.PRUNING): "predictor, pruned",
    (Subject.NERN, Method.QUANTIZATION): "predictor, quantized",
    (Subject.ORIGINAL, Method.PRUNING): "original, pruned",
    (Subject.ORIGINAL, Method.QUANTIZATION): "original, quantized",
}


def draw_sweep(result: MetaCompression) -> str:
    """Draw one line per subject and method; return an SVG document."""
    series = [
        Series(
            name,
            tuple(
                sorted(
                    (point.bytes / 1000, point.accuracy)
                    for point in result.points
                    if (point.subject, point.method) == key
                )
            ),
        )
        for key, name in _NAMES.items()
    ]
    return line_chart(
        series,
        title=f"{result.architecture}: predictor and original, compressed",
        x_label="counted bytes, thousands",
        y_label="accuracy in percent",
        log_x=True,
    )
