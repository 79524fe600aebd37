"""Words about parameters that all estimators share."""

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
