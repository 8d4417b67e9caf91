# Tests between models, profile intervals, predictions, glm.nb: writes r_inference.json.
# Run from the root of the repository: Rscript tests/reference/make_inference.R
#
# `assign` gives the term (0: intercept) of each column of X; tables have one row per term.
# confint_mass is MASS's profile interval, interpolated by splines; confint_exact solves
# (deviance(beta_j) - deviance) / dispersion = qnorm(0.975)^2 to 1e-11. For glm.nb, `theta` and
# the coefficients are iterated until both stop changing; `glm_nb` is what MASS itself returns.
source("tests/reference/common.R")
library(MASS)
library(statmod)

rows_of <- function(table, columns) {
  picked <- lapply(columns, function(column) I(table[-1, column]))
  setNames(picked, names(columns))
}

# Sequential (anova) and one-at-a-time (drop1) tables; the first row, the null or full model, goes.
sequential <- function(fit) {
  chisq <- anova(fit, test = "Chisq")
  rao <- anova(fit, test = "Rao")
  f <- suppressWarnings(anova(fit, test = "F"))
  c(
    rows_of(chisq, c(df = "Df", deviance = "Deviance", residual_df = "Resid. Df",
      residual_deviance = "Resid. Dev", chisq_pvalue = "Pr(>Chi)")),
    rows_of(rao, c(rao = "Rao", rao_pvalue = "Pr(>Chi)")),
    rows_of(f, c(f = "F", f_pvalue = "Pr(>F)"))
  )
}

one_at_a_time <- function(fit) {
  chisq <- drop1(fit, test = "Chisq")
  scaled <- intersect(c("LRT", "scaled dev."), names(chisq))
  rao <- drop1(fit, test = "Rao")
  score <- intersect(c("Rao score", "scaled Rao sc."), names(rao))
  f <- suppressWarnings(drop1(fit, test = "F"))
  c(
    rows_of(chisq, c(df = "Df", deviance = "Deviance", aic = "AIC", lrt = scaled,
      chisq_pvalue = "Pr(>Chi)")),
    rows_of(rao, c(rao = score, rao_pvalue = "Pr(>Chi)")),
    rows_of(f, c(f = "F value", f_pvalue = "Pr(>F)"))
  )
}

# Deviance maximised over the other coefficients, started at their conditional mean.
deviance_at <- function(fit, j, value) {
  X <- model.matrix(fit)
  V <- vcov(fit)
  start <- coef(fit)[-j] + V[-j, j] / V[j, j] * (value - coef(fit)[j])
  offset <- fit$offset + value * X[, j]
  glm.fit(X[, -j, drop = FALSE], fit$y, fit$prior.weights, offset = offset, family = fit$family,
    start = start, control = glm.control(epsilon = 1e-15, maxit = 200))$deviance
}

exact_interval <- function(fit, j) {
  scale <- summary(fit)$dispersion
  excess <- function(value) {
    suppressWarnings((deviance_at(fit, j, value) - fit$deviance) / scale - qnorm(0.975)^2)
  }
  end <- function(direction) {
    step <- direction * sqrt(vcov(fit)[j, j])
    near <- coef(fit)[j] + step
    far <- near + step / 4
    while (excess(far) < 0) far <- far + step / 4
    uniroot(excess, sort(c(near, far)), tol = 1e-13, maxiter = 1000)$root
  }
  c(end(-1), end(1))
}

predictions <- function(fit, rows) {
  link <- predict(fit, type = "link", se.fit = TRUE)
  response <- predict(fit, type = "response", se.fit = TRUE)
  terms <- predict(fit, type = "terms", se.fit = TRUE)
  list(
    rows = I(rows - 1),
    link = I(link$fit[rows]), link_se = I(link$se.fit[rows]),
    response = I(response$fit[rows]), response_se = I(response$se.fit[rows]),
    terms = terms$fit[rows, , drop = FALSE], terms_se = terms$se.fit[rows, , drop = FALSE],
    terms_constant = attr(terms$fit, "constant")
  )
}

as_case <- function(name, formula, family, data, extra, weights = NULL, offset = NULL) {
  fit <- fit_fully(formula, family, data, weights, offset)
  p <- length(coef(fit))
  c(
    list(name = name, family = family$family, link = family$link),
    stored_data(fit, weights, offset),
    list(
      assign = I(attr(model.matrix(fit), "assign")),
      terms = I(attr(terms(fit), "term.labels")),
      coefficients = I(coef(fit)),
      standard_errors = I(summary(fit)$coefficients[, 2]),
      dispersion = summary(fit)$dispersion,
      deviance = fit$deviance,
      loglik = as.numeric(logLik(fit)),
      sequential = sequential(fit),
      drop_one = one_at_a_time(fit),
      extra = extra,
      score_test_z = I(glm.scoretest(fit, extra)),
      confint_mass = suppressMessages(unname(confint(fit))),
      confint_exact = t(vapply(seq_len(p), function(j) exact_interval(fit, j), numeric(2))),
      predict = predictions(fit, c(1, 4, 9, 16))
    )
  )
}

# glm.nb, carried on until neither theta nor the coefficients move.
nb_fully <- function(formula, data) {
  theta <- glm.nb(formula, data)$theta
  for (i in 1:500) {
    fit <- fit_fully(formula, negative.binomial(theta), data)
    new <- theta.ml(fit$y, fitted(fit), limit = 500, eps = 1e-13)
    settled <- abs(new - theta) < 1e-14 * theta
    theta <- as.numeric(new)
    if (settled) break
  }
  list(fit = fit, theta = theta, se = attr(new, "SE"))
}

nb_case <- function(name, formula, data) {
  found <- nb_fully(formula, data)
  mass <- glm.nb(formula, data, control = glm.control(epsilon = 1e-12, maxit = 200))
  y <- found$fit$y
  c(
    list(name = name, family = "negative_binomial", link = "log"),
    stored_data(found$fit),
    list(
      coefficients = I(coef(found$fit)),
      standard_errors = I(sqrt(diag(summary(found$fit, dispersion = 1)$cov.scaled))),
      theta = found$theta,
      theta_se = found$se,
      twologlik = 2 * sum(dnbinom(y, size = found$theta, mu = fitted(found$fit), log = TRUE)),
      deviance = found$fit$deviance,
      glm_nb = list(coefficients = I(coef(mass)), theta = mass$theta, theta_se = mass$SE.theta,
        twologlik = mass$twologlik)
    )
  )
}

set.seed(51966)
n <- 40
rows <- data.frame(
  x1 = round_to(runif(n, -1, 1), 3),
  x2 = round_to(runif(n, -1, 1), 3),
  group = factor(rep(c("a", "b", "c", "d"), length.out = n))
)
rows$gamma <- round_to(rgamma(n, 4, 4 / exp(0.5 + 0.5 * rows$x1 + 0.2 * (rows$group == "c"))))
rows$mild <- rnbinom(n, size = 3, mu = exp(1.2 + 0.5 * rows$x1 - 0.3 * rows$x2))
rows$wild <- rnbinom(n, size = 0.6, mu = exp(1.5 + 0.8 * rows$x1))
weights <- round_to(runif(n, 0.4, 2.5), 3)
offset <- round_to(runif(n, -0.2, 0.2), 3)
extra_for <- function(n) matrix(round_to(rnorm(2 * n), 3), n, 2)
cancer <- transform(esoph, age = as.numeric(agegp), alcohol = as.numeric(alcgp),
  tobacco = as.numeric(tobgp))

cases <- list(
  as_case("warpbreaks poisson", breaks ~ wool * tension, poisson(), warpbreaks, extra_for(54)),
  as_case("esoph logit counts", cbind(ncases, ncontrols) ~ age + alcohol + tobacco, binomial(),
    cancer, extra_for(nrow(cancer))),
  as_case("mtcars gaussian", mpg ~ wt + hp + factor(cyl), gaussian(), mtcars, extra_for(32)),
  as_case("gamma log", gamma ~ group + x1 + x2, Gamma("log"), rows, extra_for(n)),
  as_case("gamma inverse", gamma ~ group + x1, Gamma(), rows, extra_for(n)),
  as_case("gamma log weighted", gamma ~ group + x1, Gamma("log"), rows, extra_for(n), weights,
    offset)
)
negative_binomial <- list(
  nb_case("quine", Days ~ Eth + Sex + Age + Lrn, quine),
  nb_case("mild", mild ~ x1 + x2, rows),
  nb_case("wild", wild ~ x1 + x2, rows)
)
write_reference("make_inference.R", c("MASS", "statmod"), "r_inference.json",
  cases = cases, negative_binomial = negative_binomial)
