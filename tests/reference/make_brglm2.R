# Bias-reduced fits of brglm2: writes r_brglm2.json.
# Run from the root of the repository: Rscript tests/reference/make_brglm2.R
#
# type AS_mean: the mean-bias-reducing adjusted score (Firth 1993; Kosmidis and Firth 2009), with
# the dispersion reduced too where there is one. MPL_Jeffreys: maximum of the likelihood times
# Jeffreys' prior. `separated` data have no finite maximum-likelihood estimate.
source("tests/reference/common.R")
library(brglm2)

# The quasi-Fisher scoring overshoots on some separated data, where shorter steps settle.
fit_reduced <- function(formula, family, data, type, start) {
  for (slowit in c(1, 0.5, 0.2)) {
    fit <- try(silent = TRUE, suppressWarnings(glm(formula, family = family, data = data,
      method = "brglmFit", start = start, type = type, epsilon = 1e-13, maxit = 5000,
      slowit = slowit)))
    if (!inherits(fit, "try-error") && fit$converged && max(abs(coef(fit))) < 1e3) return(fit)
  }
  stop(type, " ", family$link, " ", deparse(formula), ": no convergence")
}

as_case <- function(name, formula, family, data, type, separated = FALSE, start = NULL) {
  fit <- fit_reduced(formula, family, data, type, start)
  c(
    list(name = name, family = family$family, link = family$link, type = type,
      separated = separated),
    stored_data(fit),
    list(
      coefficients = I(coef(fit, model = "mean")),
      vcov = unname(vcov(fit, model = "mean")),
      dispersion = fit$dispersion,
      deviance = fit$deviance
    )
  )
}

data("endometrial", package = "brglm2")
set.seed(8128)
n <- 30
rows <- data.frame(x1 = round_to(runif(n, -1, 1), 3), x2 = round_to(runif(n, -1, 1), 3))
trials <- sample(2:6, n, replace = TRUE)
rows$binary <- rbinom(n, 1, plogis(0.2 + rows$x1))
rows$success <- rbinom(n, trials, plogis(0.3 + rows$x1 - 0.5 * rows$x2))
rows$failure <- trials - rows$success
rows$count <- rpois(n, exp(0.8 + 0.7 * rows$x1))
rows$gamma <- round_to(rgamma(n, 3, 3 / exp(0.5 + 0.5 * rows$x1)))
apart <- data.frame(
  x = c(-2.1, -1.4, -0.9, -0.3, 0.2, 0.8, 1.3, 1.9), z = c(0.3, -0.5, 0.9, -1.1, 0.4, 1.2, -0.7, 0.1)
)
apart$y <- as.numeric(apart$x > 0)

both <- c("AS_mean", "MPL_Jeffreys")
cases <- list()
for (type in both) {
  add <- function(...) cases <<- c(cases, list(as_case(..., type = type)))
  for (link in c("logit", "probit", "cloglog", "cauchit")) {
    if (link != "cauchit") { # its estimates run to infinity there, yet brglmFit reports success
      add(paste("endometrial", link), HG ~ NV + PI + EH, binomial(link), endometrial,
        separated = TRUE)
    }
    add(paste("binary", link), binary ~ x1 + x2, binomial(link), rows)
    add(paste("counts", link), cbind(success, failure) ~ x1 + x2, binomial(link), rows)
    add(paste("apart", link), y ~ x + z, binomial(link), apart, separated = TRUE)
  }
  add("poisson log", count ~ x1 + x2, poisson(), rows)
  add("poisson sqrt", count ~ x1 + x2, poisson("sqrt"), rows, start = c(1.5, 0, 0))
  add("gamma log", gamma ~ x1 + x2, Gamma("log"), rows)
  add("gamma inverse", gamma ~ x1 + x2, Gamma(), rows)
}
write_reference("make_brglm2.R", "brglm2", "r_brglm2.json", cases = cases)
