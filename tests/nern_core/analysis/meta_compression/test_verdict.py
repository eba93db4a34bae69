import numpy as np

from nern_core.analysis.meta_compression import Method, Point, Subject
from nern_core.analysis.meta_compression.verdict import accuracy_at, verdicts


def points(subject: Subject, *measured: tuple[int, float], method: Method = Method.PRUNING) -> list[Point]:
    return [Point(subject=subject, method=method, setting=0, bytes=size, accuracy=value) for size, value in measured]


def test_accuracy_between_two_points_is_linear_in_the_logarithm_of_the_bytes() -> None:
    measured = points(Subject.NERN, (1000, 90.0), (10, 50.0))
    assert np.allclose(accuracy_at(measured, np.array([10.0, 100.0, 1000.0])), [50.0, 70.0, 90.0])


def test_the_one_that_leads_at_every_common_size_is_named_with_its_margin() -> None:
    low, high = [(100, 20.0), (1000, 60.0)], [(50, 30.0), (500, 90.0), (2000, 90.0)]
    (sentence,) = verdicts(points(Subject.NERN, *low) + points(Subject.ORIGINAL, *high))
    assert sentence == (
        "Pruning: at equal bytes, from 100 to 1,000, the compressed original is more accurate throughout, "
        "by 28.06 to 42.04 points."
    )
    (sentence,) = verdicts(points(Subject.NERN, *high) + points(Subject.ORIGINAL, *low))
    assert "the compressed predictor is more accurate throughout" in sentence


def test_curves_that_cross_are_told_by_their_share_of_the_range() -> None:
    measured = points(Subject.NERN, (100, 10.0), (10000, 90.0)) + points(Subject.ORIGINAL, (100, 50.0), (10000, 50.0))
    (sentence,) = verdicts(measured)
    assert "predictor is more accurate on 50 % of the range (by up to 40.00 points)" in sentence
    assert "the compressed original by up to 40.00 points" in sentence


def test_without_a_common_size_there_is_nothing_to_compare() -> None:
    measured = points(Subject.NERN, (100, 1.0), (200, 2.0)) + points(Subject.ORIGINAL, (300, 1.0), (400, 2.0))
    assert verdicts(measured) == (
        "Pruning: the two have no size in common, so they cannot be compared at equal bytes.",
    )


def test_each_method_has_its_sentence() -> None:
    measured = [
        point
        for method in Method
        for subject in Subject
        for point in points(subject, (100, 1.0), (200, 1.0), method=method)
    ]
    assert verdicts(measured) == (
        "Pruning: at equal bytes, from 100 to 200, both are equally accurate.",
        "Quantization: at equal bytes, from 100 to 200, both are equally accurate.",
    )
