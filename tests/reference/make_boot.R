# Intervals of the boot package: writes r_boot.json.
# Run from the root of the repository: Rscript tests/reference/make_boot.R
#
# A Gamma regression with log link; `indices` are boot.array's, 1-based, one row per replicate.
# t0, t: coefficients; v0, v: their squared standard errors by Pearson's dispersion. `intervals`
# by kind for every coefficient; BCa by three kinds of empirical influence, which are stored too.
source("tests/reference/common.R")
library(boot)

set.seed(4711)
n <- 30
rows <- data.frame(x1 = round_to(rnorm(n), 3), x2 = round_to(runif(n, -1, 1), 3))
rows$y <- round_to(rgamma(n, 2, 2 / exp(0.4 + 0.5 * rows$x1 - 0.3 * rows$x2)))
rows$stratum <- rep(1:3, c(14, 10, 6))

statistic <- function(data, index) {
  fit <- fit_fully(y ~ x1 + x2, Gamma("log"), data[index, ])
  c(coef(fit), diag(vcov(fit)))
}

level <- 0.9
as_case <- function(name, strata) {
  found <- boot(rows, statistic, R = 199, strata = strata)
  L <- lapply(c(jackknife = "jack", regression = "reg"), function(type) {
    sapply(1:3, function(j) empinf(found, index = j, type = type))
  })
  kinds <- lapply(1:3, function(j) {
    ci <- boot.ci(found, conf = level, index = c(j, j + 3), L = L$jackknife[, j])
    last <- function(x) I(tail(as.vector(x), 2))
    list(normal = last(ci$normal), basic = last(ci$basic), student = last(ci$student),
      percentile = last(ci$percent), bca = last(ci$bca),
      bca_regression = last(boot.ci(found, conf = level, index = j, type = "bca")$bca))
  })
  list(name = name, strata = I(as.integer(strata)), indices = boot.array(found, indices = TRUE),
    t0 = found$t0[1:3], v0 = found$t0[4:6], t = found$t[, 1:3], v = found$t[, 4:6],
    influence = L, intervals = kinds)
}

write_reference("make_boot.R", "boot", "r_boot.json",
  X = unname(model.matrix(~ x1 + x2, rows)), y = rows$y, level = level,
  cases = list(as_case("plain", rep(1, n)), as_case("strata", rows$stratum)))
