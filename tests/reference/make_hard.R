# R's glm() on fits that are hard, started where it succeeds: writes r_hard.json.
# Run from the root of the repository: Rscript tests/reference/make_hard.R
#
# Also what glm() itself makes of quasi-separated responses: whether it converged, and warned.
source("tests/reference/common.R")

case <- function(name, formula, family, data, start = NULL, weights = NULL, offset = NULL) {
  cat(name, "\n")
  plain <- tryCatch(
    {
      data$.w <- if (is.null(weights)) rep(1, nrow(data)) else weights
      data$.o <- if (is.null(offset)) rep(0, nrow(data)) else offset
      f <- formula
      environment(f) <- environment()
      suppressWarnings(glm(f, family = family, data = data, weights = .w, offset = .o))$converged
    },
    error = function(e) FALSE
  )
  fit <- fit_fully(formula, family, data, weights, offset, start)
  c(
    list(name = name, family = family$family, link = family$link, unaided = plain),
    stored_data(fit, weights, offset),
    list(
      coefficients = I(unname(coef(fit))),
      standard_errors = I(unname(sqrt(diag(vcov(fit))))),
      deviance = fit$deviance
    )
  )
}

x <- c(-3, -2, -1, -0.5, 0, 0.5, 1, 2, 3, 4)
few <- data.frame(x, y = c(0, 0, 1, 0, 1, 0, 1, 1, 0, 1))
rare <- data.frame(x, y = c(0, 0, 1, 0, 0, 0, 1, 0, 0, 1))
risky <- data.frame(x = seq(0, 1, length.out = 12), m = 20,
                    s = c(2, 3, 4, 4, 7, 7, 10, 11, 14, 16, 18, 19))
rising <- data.frame(x = 0:9, y = c(1, 0, 1, 1, 2, 3, 2, 5, 4, 7))
waits <- data.frame(x, y = c(9.1, 3.2, 2.4, 1.4, 1.7, 0.9, 1.2, 0.8, 0.55, 0.5))
large <- data.frame(x, y = round(1e12 * exp(0.3 * x) * (1 + 1e-3 * sin(1:10))))
shifted <- data.frame(x, y = c(1, 0, 2, 1, 3, 2, 4, 6, 9, 14))
zeros <- data.frame(x, y = c(0, 0, 0, 1, 0, 0, 1, 0, 2, 1))

cases <- list(
  case("log-binomial near its edge", cbind(s, m - s) ~ x, binomial("log"), risky, c(-2.5, 2.3)),
  case("log-binomial of 0 and 1", y ~ x, binomial("log"), rare, c(-1.5, 0.1)),
  case("identity-Poisson near its edge", y ~ x, poisson("identity"), rising, c(0.5, 0.5)),
  case("Gamma inverse from far", y ~ x, Gamma("inverse"), waits, c(0.7, 0.2)),
  case("inverse Gaussian", y ~ x, inverse.gaussian("1/mu^2"), waits, c(0.8, 0.25)),
  case("inverse Gaussian log", y ~ x, inverse.gaussian("log"), waits),
  case("cauchit", y ~ x, binomial("cauchit"), few),
  case("counts of 1e12", y ~ x, poisson(), large),
  case("offset of 300", y ~ x, poisson(), shifted, c(-299, 0.4), offset = rep(300, 10)),
  case("offset of -300", y ~ x, poisson(), shifted, c(301, 0.4), offset = rep(-300, 10)),
  case("offsets apart", y ~ x, poisson(), shifted, c(0, -3), offset = 4 * x),
  case("sparse counts", y ~ x, poisson(), zeros),
  case("one coefficient", y ~ 1, binomial("probit"), few),
  case("a weight of 1e8", y ~ x, Gamma("log"), waits, weights = c(1e8, rep(1, 9)))
)

# Ten rows of one table each: 0 and 1 overlap in one place only, or one cell has one response.
cell <- c(0, 0, 0, 0, 0, 1, 1, 1, 1, 1)
allison <- c(-5, -4, -3, -2, -1, 0, 0, 1, 2, 3, 4, 5)
separated <- list(
  list("Allison", y ~ x, data.frame(x = allison, y = c(0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1)), "logit"),
  list("UCLA", y ~ x + z, data.frame(y = c(0, 0, 0, 0, 1, 1, 1, 1, 1, 1),
    x = c(1, 2, 3, 3, 3, 4, 5, 6, 10, 11), z = c(3, 0, -1, 4, 1, 0, 2, 7, 3, 4)), "logit"),
  list("a cell of ones", y ~ g, data.frame(g = cell, y = c(0, 1, 0, 1, 1, 1, 1, 1, 1, 1)), "logit"),
  list("a cell of zeros", y ~ g, data.frame(g = cell, y = c(0, 1, 0, 1, 1, 0, 0, 0, 0, 0)), "probit"),
  list("a cell and a covariate", y ~ g + x,
    data.frame(g = cell, x, y = c(0, 1, 0, 1, 0, 1, 1, 1, 1, 1)), "logit"),
  list("a level of three", y ~ a + b, data.frame(a = c(0, 0, 0, 1, 1, 1, 0, 0, 0, 0),
    b = c(0, 0, 0, 0, 0, 0, 1, 1, 1, 1), y = c(0, 1, 1, 0, 0, 0, 1, 0, 1, 0)), "cloglog"),
  list("an interaction", y ~ g * x, data.frame(g = cell, x = c(1:5, 1:5),
    y = c(0, 1, 0, 1, 1, 0, 0, 0, 1, 1)), "logit"),
  list("doses", y ~ x, data.frame(x = c(1, 1, 1, 2, 2, 2, 3, 3, 3, 3),
    y = c(0, 0, 0, 0, 1, 1, 1, 1, 1, 1)), "cauchit")
)

quasi <- lapply(separated, function(s) {
  warned <- FALSE
  fit <- withCallingHandlers(glm(s[[2]], binomial(s[[4]]), s[[3]]), warning = function(w) {
    warned <<- TRUE
    invokeRestart("muffleWarning")
  })
  list(
    name = s[[1]], family = "binomial", link = s[[4]], X = unname(model.matrix(fit)),
    y = I(unname(fit$y)), r_converged = fit$converged, r_warned = warned,
    r_largest_error = max(sqrt(diag(vcov(fit))))
  )
})

write_reference("make_hard.R", character(0), "r_hard.json", cases = cases, quasi = quasi)
