# R's glm() with residuals and influence: writes r_glm.json.
# Run from the root of the repository: Rscript tests/reference/make_glm.R
#
# Every fit is restarted from its own solution until nothing changes. For
# MASS::negative.binomial(theta) everything is at dispersion 1 (R 4.2 would estimate one). dffits,
# covratio, dfbetas use R's leave-one-out sigma from the deviance residuals, for every family.
source("tests/reference/common.R")
library(MASS)

pearson_chi2 <- function(fit) sum(residuals(fit, "pearson")^2)

fixed_dispersion <- function(fit) grepl("^(binomial|poisson|Negative Binomial)", fit$family$family)

# summary(), rstandard() and cooks.distance() take the dispersion from the family's name.
with_unit_dispersion <- function(fit) {
  if (fixed_dispersion(fit) && fit$family$family != "binomial") fit$family$family <- "poisson"
  fit
}

casewise <- function(fit) {
  unit <- with_unit_dispersion(fit)
  list(
    resid_response = I(residuals(fit, "response")),
    resid_working = I(residuals(fit, "working")),
    resid_pearson = I(residuals(fit, "pearson")),
    resid_deviance = I(residuals(fit, "deviance")),
    resid_partial = residuals(fit, "partial"),
    hatvalues = I(hatvalues(fit)),
    cooks_distance = I(cooks.distance(unit)),
    rstandard_deviance = I(rstandard(unit, type = "deviance")),
    rstandard_pearson = I(rstandard(unit, type = "pearson")),
    rstudent = I(rstudent(unit)),
    dffits = I(dffits(unit)),
    covratio = I(covratio(unit)),
    dfbetas = unname(dfbetas(unit)),
    dfbeta = unname(dfbeta(unit))
  )
}

as_case <- function(name, formula, family, data, weights = NULL, offset = NULL, start = NULL,
                    influence = TRUE, theta = NULL) {
  fit <- fit_fully(formula, family, data, weights, offset, start)
  stopifnot(max(hatvalues(fit)) < 0.999)
  unit <- with_unit_dispersion(fit)
  table <- summary(unit)
  c(
    list(
      name = name,
      family = if (is.null(theta)) family$family else "negative_binomial",
      link = family$link,
      theta = theta,
      formula = paste(deparse(formula), collapse = ""),
      columns = I(colnames(model.matrix(fit))),
      intercept = attr(terms(fit), "intercept") == 1
    ),
    stored_data(fit, weights, offset),
    list(
      coefficients = I(coef(fit)),
      standard_errors = I(table$coefficients[, 2]),
      dispersion = table$dispersion,
      deviance = fit$deviance,
      null_deviance = fit$null.deviance,
      df_residual = fit$df.residual,
      df_null = fit$df.null,
      loglik = as.numeric(logLik(fit)),
      aic = AIC(fit),
      bic = BIC(fit),
      pearson_chi2 = pearson_chi2(fit)
    ),
    if (influence) casewise(fit) else NULL
  )
}

set.seed(20240517)
n <- 20
grid <- data.frame(x1 = round_to(runif(n, -1, 1), 3), x2 = round_to(runif(n, -1, 1), 3))
lin <- 0.6 * grid$x1 - 0.4 * grid$x2
mid <- exp(0.7 + lin)
weights <- round_to(runif(n, 0.4, 2.5), 3)
offset <- round_to(runif(n, -0.2, 0.2), 3)
trials <- sample(3:12, n, replace = TRUE)
probability <- plogis(-0.2 + lin)
grid$normal <- round_to(mid + 0.25 * rnorm(n))
grid$count <- rpois(n, 2 * mid)
grid$gamma <- round_to(rgamma(n, 5, 5 / mid))
z <- rnorm(n)^2
grid$wald <- round_to(mid * (1 + mid * z / 10 - sqrt(4 * mid * 5 * z + (mid * z)^2) / 10))
grid$overdispersed <- rnbinom(n, size = 2, mu = 2 * mid)
grid$success <- rbinom(n, trials, probability)
grid$failure <- trials - grid$success
grid$rare <- rbinom(n, trials, 0.35 * exp(lin))
grid$rest <- trials - grid$rare
m <- 28
binary <- data.frame(x1 = round_to(runif(m, -1, 1), 3), x2 = round_to(runif(m, -1, 1), 3))
binary$y <- rbinom(m, 1, plogis(-0.1 + 0.8 * binary$x1 - 0.5 * binary$x2))
binary$low <- rbinom(m, 1, 0.3 * exp(0.3 * binary$x1))
quasi_offset <- round_to(runif(m, -0.2, 0.2), 3)
flat <- function(first) c(first, 0, 0)

plain <- function(name, response, family, ...) {
  as_case(name, reformulate(c("x1", "x2"), response), family, grid, ...)
}
zero_one <- function(link, response = "y", ...) {
  as_case(paste("binomial", link, "0/1"), reformulate(c("x1", "x2"), response), binomial(link),
    binary, ...)
}
counts <- function(link, kind = "counts", ...) {
  as_case(paste("binomial", link, kind), cbind(success, failure) ~ x1 + x2, binomial(link),
    grid, ...)
}
nb <- function(link, theta = 2, name = link, ...) {
  family <- do.call(negative.binomial, list(theta = theta, link = link))
  plain(paste("negative binomial", name), "overdispersed", family, theta = theta, ...)
}

cancer <- esoph
cancer$age <- as.numeric(cancer$agegp)
cancer$alcohol <- as.numeric(cancer$alcgp)
cancer$tobacco <- as.numeric(cancer$tobgp)

cases <- list(
  as_case("mtcars gaussian", mpg ~ wt + hp, gaussian(), mtcars),
  plain("gaussian identity weighted", "normal", gaussian(), weights, offset),
  plain("gaussian log", "normal", gaussian("log"), start = flat(0.7)),
  plain("gaussian inverse", "normal", gaussian("inverse"), start = flat(0.5)),
  as_case("gaussian no intercept", normal ~ x1 + x2 - 1, gaussian(), grid),
  as_case("infert logit", case ~ spontaneous + induced + age + parity, binomial(), infert,
    influence = FALSE),
  as_case("esoph logit counts", cbind(ncases, ncontrols) ~ age + alcohol + tobacco, binomial(),
    cancer, influence = FALSE),
  zero_one("logit"), zero_one("probit"), zero_one("cauchit"), zero_one("cloglog"),
  zero_one("log", "low", start = flat(-1.2)),
  counts("logit"), counts("probit"), counts("cauchit"), counts("cloglog"),
  as_case("binomial log counts", cbind(rare, rest) ~ x1 + x2, binomial("log"), grid,
    start = flat(-1)),
  counts("logit", "counts offset", offset = offset),
  as_case("binomial no intercept offset", y ~ x1 + x2 - 1, binomial(), binary,
    offset = quasi_offset),
  as_case("warpbreaks poisson", breaks ~ wool + tension, poisson(), warpbreaks, influence = FALSE),
  plain("poisson log", "count", poisson()),
  plain("poisson log weighted", "count", poisson(), weights, offset),
  plain("poisson identity", "count", poisson("identity"), start = flat(4)),
  plain("poisson sqrt", "count", poisson("sqrt"), start = flat(2)),
  as_case("poisson no intercept", count ~ x1 + x2 - 1, poisson(), grid),
  as_case("poisson no intercept offset", count ~ x1 + x2 - 1, poisson(), grid, offset = offset),
  plain("gamma inverse", "gamma", Gamma()),
  plain("gamma log", "gamma", Gamma("log")),
  plain("gamma identity", "gamma", Gamma("identity")),
  plain("gamma log weighted", "gamma", Gamma("log"), weights, offset),
  plain("inverse gaussian 1/mu^2", "wald", inverse.gaussian(), start = flat(0.25)),
  plain("inverse gaussian inverse", "wald", inverse.gaussian("inverse"), start = flat(0.5)),
  plain("inverse gaussian log", "wald", inverse.gaussian("log")),
  plain("inverse gaussian identity", "wald", inverse.gaussian("identity"), start = flat(2)),
  plain("inverse gaussian log weighted", "wald", inverse.gaussian("log"), weights, offset),
  nb("log"), nb("sqrt", start = flat(2)), nb("identity", start = flat(4)),
  nb("log", name = "log weighted", weights = weights, offset = offset),
  as_case("quine negative binomial", Days ~ Eth + Sex + Age + Lrn, negative.binomial(1.5), quine,
    influence = FALSE, theta = 1.5)
)
write_reference("make_glm.R", "MASS", "r_glm.json", cases = cases)
