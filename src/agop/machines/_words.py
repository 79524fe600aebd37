"""Words about parameters that all estimators share."""

CENTRES = r"""
    solver : "auto", "cholesky", "cg" or "nystrom"
        "cholesky" factors the kernel matrix; "cg" need not store it: conjugate gradients with a randomly pivoted Cholesky
        preconditioner, needs ridge > 0. "nystrom" learns M on `feature_points` rows, then fits :math:`f(x) = \sum_j a_j k_M(x, z_j)` on
        `n_centers` of the rows to all of them, in one pass that holds a block of rows and a few matrices of the centres. "auto" is
        "nystrom" above 30,000 rows; else "cholesky" if that fits into memory, else "cg". What was used and why is in `history_`.
    n_centers : int or "auto"
        Of "nystrom": m, at most the number of rows; with all of them it is the exact fit. "auto": :math:`4 \sqrt n`, at least 1,000,
        at most 20,000, or what fits into memory.
    centers : "kmeans++", "leverage" or "random"
        Of "nystrom": which rows. Spread out (k-means++); by ridge leverage scores; at random. Chosen among 10 m rows or 20,000, whichever
        is more, as the metric maps them; equal rows are one.
    feature_points : int or "all"
        Of "nystrom": rows that M is learned on by exact fits (a seeded sample). "all": every fit is one on centres, and the AGOP is over
        all rows; that is a pass for each iteration and one for its AGOP."""
"""What an estimator that takes centres says of solvers, instead of the first entry of `SOLVING`."""

SOLVING = r"""
    solver : "auto", "cholesky" or "cg"
        "cholesky" factors the kernel matrix; "cg" need not store it: conjugate gradients with a randomly pivoted Cholesky
        preconditioner, needs ridge > 0. "auto" is "cholesky" if that fits into memory, else "cg"; what was used and why is in `history_`.
    tolerance : float
        Of "cg": largest relative residual :math:`\|y_c - (K + \mu I) a_c\| / \|y_c\|` of any output c.
    max_rank : int or None
        Of "cg": rank of the preconditioner; None is :math:`6\sqrt n`, or what fits into memory. Iterations fall with it.
    max_cg_iter : int
        Of "cg": products with K in one solve. If they do not reach the tolerance, a `ConvergenceWarning` says so, and `history_`.
    max_memory : int, str or None
        Bytes, or a text such as "8GB", that a fit may take; None is what is free. A fit that cannot stay within it says so
        before it starts. What "cg" does not need holds parts of the kernel matrix, so that they are formed only once.
    precision : "mixed" or "native"
        "mixed" forms distances in float64 whatever the dtype: without that, a float32 fit stalls once points of a class nearly coincide.
        Up to 2,048 points it forms and factors kernel matrices in float64 too; coefficients and features keep the dtype.
    device, dtype : optional
        Where and in what ("float32", "float64") to compute. None: where the input is, in its dtype.
    verbose : bool
        Show a bar with elapsed and remaining time on standard error."""
