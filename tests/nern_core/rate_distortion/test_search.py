from nern_core.rate_distortion.search import chosen_size, search_size


def drop_of(size: int) -> float:
    return 0.1 if size >= 3000 else 5.0


def test_the_range_is_halved_towards_the_smallest_size_that_is_good_enough() -> None:
    trials = search_size(drop_of, 1000, 16_000, max_drop=0.5, trials=6)
    assert [trial.bytes for trial in trials[:3]] == [4000, 2000, 2828]
    assert 3000 <= chosen_size(trials, 16_000, 0.5) < 3100


def test_where_every_size_costs_too_much_it_is_the_largest() -> None:
    trials = search_size(lambda size: 9.0, 1000, 16_000, max_drop=0.5, trials=4)
    assert chosen_size(trials, 16_000, 0.5) == 16_000
