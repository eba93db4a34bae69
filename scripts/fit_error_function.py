"""Compute the quotient of polynomials for erf in nern_core/representations/predicted/gelu.py.

python -m scripts.fit_error_function prints the coefficients of P and Q, highest powers first, that minimize the largest
error of z P(z²) / Q(z²) for |z| up to LIMIT, where erf is 1 in float64. The
quotient is fitted by linear least squares, weighted by the last denominator (Sanathanan and Koerner, 1963) and more
wherever the error was large (Lawson, 1961). mpmath comes with torch.
"""

from mpmath import mp

DEGREE, LIMIT = 12, "5.93"
_DIGITS, _POINTS, _ROUNDS, _ROUNDS_OF_EQUAL_WEIGHTS = 50, 110, 14, 3


def main() -> None:
    """Fit, and print the best quotient."""
    mp.dps = _DIGITS
    limit = mp.mpf(LIMIT)
    # Dense at both ends.
    points = [limit * (1 - mp.cos(mp.pi * (2 * k + 1) / (2 * _POINTS))) / 2 for k in range(_POINTS)]
    values = [mp.erf(z) / z for z in points]
    squares = [(z / limit) ** 2 for z in points]
    weights, denominators = [mp.mpf(1)] * _POINTS, [mp.mpf(1)] * _POINTS
    fits = []
    for number in range(_ROUNDS):
        rows, right = mp.matrix(_POINTS, 2 * DEGREE + 1), mp.matrix(_POINTS, 1)
        for k in range(_POINTS):
            factor = mp.sqrt(weights[k]) * points[k] / denominators[k]
            right[k] = factor * values[k]
            for power in range(DEGREE + 1):
                rows[k, power] = factor * squares[k] ** power
            for power in range(1, DEGREE + 1):
                rows[k, DEGREE + power] = -factor * values[k] * squares[k] ** power
        solution = list(mp.qr_solve(rows, right)[0])
        above, below = solution[: DEGREE + 1], [mp.mpf(1), *solution[DEGREE + 1 :]]
        denominators = [mp.polyval(below[::-1], u) for u in squares]
        errors = [
            abs(z * (value - mp.polyval(above[::-1], u) / denominator))
            for z, value, u, denominator in zip(points, values, squares, denominators, strict=True)
        ]
        fits.append((max(errors), above, below))
        if number >= _ROUNDS_OF_EQUAL_WEIGHTS:
            weights = [w * (error / max(errors) + mp.mpf("1e-3")) for w, error in zip(weights, errors, strict=True)]
            weights = [w * _POINTS / mp.fsum(weights) for w in weights]
    error, above, below = min(fits, key=lambda fit: fit[0])
    print(f"largest error: {mp.nstr(error, 3)}")
    for name, coefficients in (("P", above), ("Q", below)):
        in_z = [float(value / limit ** (2 * power)) for power, value in enumerate(coefficients)]
        print(f"{name}: {tuple(in_z[::-1])}")


if __name__ == "__main__":
    main()
