# Robust covariances of the sandwich package: writes r_sandwich.json.
# Run from the root of the repository: Rscript tests/reference/make_covariance.R
#
# hc: vcovHC(type). cluster: vcovCL(type, cadjust) by g1, by g2 and by both (two-way). For HAC,
# the rows are in order of time; `newey_west` has a fixed lag and no prewhitening, `kernel` is
# kernHAC with the Bartlett kernel and a fixed bandwidth. The bread is the expected information.
source("tests/reference/common.R")
library(sandwich)

set.seed(7219)
n <- 48
rows <- data.frame(
  x1 = round_to(runif(n, -1, 1), 3),
  x2 = round_to(runif(n, -1, 1), 3),
  g1 = sample(rep(1:9, length.out = n)),
  g2 = sample(rep(1:6, length.out = n))
)
shock <- 0.4 * rnorm(9)[rows$g1] + 0.3 * rnorm(6)[rows$g2]
lin <- 0.6 * rows$x1 - 0.4 * rows$x2 + shock
trials <- sample(2:9, n, replace = TRUE)
rows$count <- rpois(n, exp(1 + lin))
rows$gamma <- round_to(rgamma(n, 3, 3 / exp(0.5 + lin)))
rows$binary <- rbinom(n, 1, plogis(0.3 + lin))
rows$success <- rbinom(n, trials, plogis(lin))
rows$failure <- trials - rows$success
rows$normal <- round_to(1 + lin + 0.5 * rnorm(n))
weights <- round_to(runif(n, 0.4, 2.5), 3)
offset <- round_to(runif(n, -0.2, 0.2), 3)

types <- c("const", "HC0", "HC1", "HC2", "HC3", "HC4")
groupings <- list(g1 = ~g1, g2 = ~g2, both = ~ g1 + g2)

clustered <- function(fit) {
  rows <- list()
  for (by in names(groupings)) for (type in c("HC0", "HC1")) for (cadjust in c(TRUE, FALSE)) {
    cov <- vcovCL(fit, cluster = groupings[[by]], type = type, cadjust = cadjust)
    rows <- c(rows, list(list(by = by, type = type, cadjust = cadjust, cov = cov)))
  }
  rows
}

autocorrelated <- function(fit) {
  rows <- list()
  for (adjust in c(TRUE, FALSE)) for (lag in c(0, 3)) {
    nw <- NeweyWest(fit, lag = lag, prewhite = FALSE, adjust = adjust)
    rows <- c(rows, list(list(kind = "newey_west", lag = lag, adjust = adjust, cov = nw)))
  }
  for (adjust in c(TRUE, FALSE)) {
    cov <- kernHAC(fit, kernel = "Bartlett", bw = 4.5, prewhite = FALSE, adjust = adjust)
    rows <- c(rows, list(list(kind = "kernel", bandwidth = 4.5, adjust = adjust, cov = cov)))
  }
  rows
}

as_case <- function(name, formula, family, weights = NULL, offset = NULL) {
  data <- rows
  fit <- fit_fully(formula, family, data, weights, offset)
  c(
    list(name = name, family = family$family, link = family$link),
    stored_data(fit, weights, offset),
    list(
      coefficients = I(coef(fit)),
      dispersion = summary(fit)$dispersion,
      deviance = fit$deviance,
      hc = sapply(types, function(type) vcovHC(fit, type = type), simplify = FALSE),
      cluster = clustered(fit),
      hac = autocorrelated(fit)
    )
  )
}

cases <- list(
  as_case("poisson log", count ~ x1 + x2, poisson()),
  as_case("gamma log", gamma ~ x1 + x2, Gamma("log")),
  as_case("binomial logit", binary ~ x1 + x2, binomial()),
  as_case("gaussian identity", normal ~ x1 + x2, gaussian()),
  as_case("binomial probit counts", cbind(success, failure) ~ x1 + x2, binomial("probit")),
  as_case("gamma log weighted", gamma ~ x1 + x2, Gamma("log"), weights, offset)
)
write_reference("make_covariance.R", "sandwich", "r_sandwich.json",
  g1 = rows$g1, g2 = rows$g2, cases = cases)
