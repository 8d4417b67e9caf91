# Measures of performance of simulated estimates: writes r_performance.json.
# Run from the root of the repository: Rscript tests/reference/make_performance.R
#
# The formulas of Morris, White & Crowther (2019), table 6, as sums over the replicates, in base R.
# Draws of two methods at one truth: `e`, their estimates, `se`, `low` and `high`, null where a
# replicate failed. `relative_precision` is the second method's gain over the first.
source("tests/reference/common.R")

set.seed(1907)
truth <- 0.4
null <- 0
replicates <- 300

draw <- function(shared, noise, df, failed) {
  e <- truth + 0.05 + shared + noise * rnorm(replicates)
  se <- sqrt((0.3^2 + noise^2) * rchisq(replicates, df) / df)
  e[failed] <- NA
  se[failed] <- NA
  half <- qt(0.975, df) * se
  data.frame(e = e, se = se, low = e - half, high = e + half)
}

measures <- function(drawn) {
  kept <- drawn[!is.na(drawn$e), ]
  n <- nrow(kept)
  e <- kept$e
  v <- kept$se^2
  m <- sum(e) / n
  empirical <- sqrt(sum((e - m)^2) / (n - 1))
  mse <- sum((e - truth)^2) / n
  model <- sqrt(sum(v) / n)
  var_v <- sum((v - sum(v) / n)^2) / (n - 1)
  share <- function(holds, n) {
    p <- sum(holds) / n
    c(value = p, mcse = sqrt(p * (1 - p) / n))
  }
  list(
    bias = c(value = m - truth, mcse = sqrt(sum((e - m)^2) / (n * (n - 1)))),
    empirical_se = c(value = empirical, mcse = empirical / sqrt(2 * (n - 1))),
    mse = c(value = mse, mcse = sqrt(sum(((e - truth)^2 - mse)^2) / (n * (n - 1)))),
    model_se = c(value = model, mcse = sqrt(var_v / (4 * n * model^2))),
    relative_error = c(value = 100 * (model / empirical - 1),
      mcse = 100 * (model / empirical) * sqrt(var_v / (4 * n * model^4) + 1 / (2 * (n - 1)))),
    coverage = share(kept$low <= truth & truth <= kept$high, n),
    bias_eliminated_coverage = share(kept$low <= m & m <= kept$high, n),
    rejection = share(kept$low > null | kept$high < null, n),
    convergence = share(!is.na(drawn$e), replicates)
  )
}

# With a the reference and b the other, of the replicates that both have.
relative_precision <- function(a, b) {
  both <- !is.na(a) & !is.na(b)
  a <- a[both]
  b <- b[both]
  n <- sum(both)
  ratio <- var(a) / var(b)
  c(value = 100 * (ratio - 1), mcse = 200 * ratio * sqrt((1 - cor(a, b)^2) / (n - 1)))
}

shared <- 0.3 * rnorm(replicates)
methods <- list(draw(shared, 0, 12, c(4, 250)), draw(shared, 0.2, 40, c(17, 18, 250)))
as_case <- function(drawn) c(lapply(as.list(drawn), I), list(measures = lapply(measures(drawn), as.list)))

write_reference("make_performance.R", character(0), "r_performance.json",
  truth = truth, null = null, methods = lapply(methods, as_case),
  relative_precision = as.list(relative_precision(methods[[1]]$e, methods[[2]]$e)))
