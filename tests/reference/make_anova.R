# Tables of type II and III, and a bootstrap covariance: writes r_anova.json.
# Run from the root of the repository: Rscript tests/reference/make_anova.R
#
# `assign` gives the term (0: intercept) of each column of X. `ii` and `iii` are car's Anova by
# likelihood ratio, F (with Pearson's dispersion) and Wald; one row per term. `bootstrap` is
# sandwich's vcovBS of `reps` samples, of rows or of the clusters `g`: good to 1 / sqrt(2 reps).
source("tests/reference/common.R")
suppressMessages(library(car))
library(sandwich)

table_of <- function(fit, type) {
  lr <- Anova(fit, type = type, test.statistic = "LR")
  f <- suppressWarnings(Anova(fit, type = type, test.statistic = "F", error.estimate = "pearson"))
  wald <- Anova(fit, type = type, test.statistic = "Wald")
  terms <- attr(terms(fit), "term.labels")
  list(
    df = I(lr[terms, "Df"]), lr = I(lr[terms, "LR Chisq"]), lr_pvalue = I(lr[terms, "Pr(>Chisq)"]),
    f = I(f[terms, grep("^F value", names(f))]), f_pvalue = I(f[terms, "Pr(>F)"]),
    wald = I(wald[terms, "Chisq"]), wald_pvalue = I(wald[terms, "Pr(>Chisq)"])
  )
}

as_case <- function(name, formula, family, data, weights = NULL, offset = NULL) {
  fit <- fit_fully(formula, family, data, weights, offset)
  c(
    list(name = name, family = family$family, link = family$link),
    stored_data(fit, weights, offset),
    list(
      assign = I(attr(model.matrix(fit), "assign")), terms = I(attr(terms(fit), "term.labels")),
      dispersion = summary(fit)$dispersion, ii = table_of(fit, 2), iii = table_of(fit, 3)
    )
  )
}

set.seed(30211)
n <- 48
rows <- data.frame(
  x1 = round_to(runif(n, -1, 1), 3),
  x2 = round_to(runif(n, -1, 1), 3),
  group = factor(rep(c("a", "b", "c"), length.out = n)),
  g = rep(1:16, each = 3)
)
lin <- 0.5 + 0.6 * rows$x1 + 0.3 * (rows$group == "c") + 0.2 * rnorm(16)[rows$g]
rows$gamma <- round_to(rgamma(n, 4, 4 / exp(lin)))
trials <- sample(2:9, n, replace = TRUE)
rows$success <- rbinom(n, trials, plogis(lin))
rows$failure <- trials - rows$success
weights <- round_to(runif(n, 0.4, 2.5), 3)
offset <- round_to(runif(n, -0.2, 0.2), 3)

options(contrasts = c("contr.sum", "contr.poly"))
cases <- list(
  as_case("warpbreaks poisson", breaks ~ wool * tension, poisson(), warpbreaks),
  as_case("mtcars gaussian", mpg ~ wt * factor(am) + hp, gaussian(), mtcars),
  as_case("probit counts", cbind(success, failure) ~ group * x1 + x2, binomial("probit"), rows),
  as_case("gamma log weighted", gamma ~ group * x1 * x2, Gamma("log"), rows, weights, offset)
)
reps <- 20000
fit <- fit_fully(gamma ~ x1 + x2, Gamma("log"), rows)
bootstrap <- c(
  list(family = "Gamma", link = "log"), stored_data(fit),
  list(
    g = I(rows$g), reps = reps, rows = vcovBS(fit, R = reps),
    clusters = vcovBS(fit, cluster = rows$g, R = reps)
  )
)
write_reference("make_anova.R", c("car", "sandwich"), "r_anova.json", cases = cases,
  bootstrap = bootstrap)
