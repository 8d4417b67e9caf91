# Stepwise searches: writes r_step.json. Run from the root of the repository:
# Rscript tests/reference/make_step.R
#
# The births of Hosmer & Lemeshow (MASS birthwt) and the cars of R's mtcars. `assign` gives the term
# (0: intercept) of each column of X, the full model's. Each search has what step() was told, the
# path that it took (its `anova`) and the terms that it ended with.
source("tests/reference/common.R")
library(MASS)

search_of <- function(full, begin, direction, criterion) {
  k <- if (criterion == "aic") 2 else log(nobs(full))
  from <- if (begin == "all") full else update(full, . ~ 1)
  found <- step(from, scope = list(lower = ~1, upper = formula(full)), direction = direction, k = k,
    trace = 0)
  path <- found$anova
  list(
    begin = begin, direction = direction, criterion = criterion, changes = I(as.character(path$Step)),
    df_resid = I(path$"Resid. Df"), deviance = I(path$"Resid. Dev"), value = I(path$AIC),
    terms = I(attr(terms(found), "term.labels"))
  )
}

as_case <- function(name, full) {
  data <- list(
    name = name, family = full$family$family, link = full$family$link, X = unname(model.matrix(full)),
    y = I(unname(full$y)), assign = I(attr(model.matrix(full), "assign")),
    terms = I(attr(terms(full), "term.labels"))
  )
  searches <- list(
    search_of(full, "all", "both", "aic"), search_of(full, "all", "backward", "bic"),
    search_of(full, "none", "forward", "aic"), search_of(full, "none", "both", "bic")
  )
  c(data, list(searches = searches))
}

settled <- glm.control(epsilon = 1e-13, maxit = 50)
births <- glm(low ~ age + lwt + factor(race) + smoke * ht + ui + ftv + ptl, binomial, birthwt,
  control = settled)
cars <- glm(mpg ~ wt * hp + qsec + factor(am) * wt + factor(cyl), gaussian(), mtcars,
  control = settled)
write_reference("make_step.R", "MASS", "r_step.json",
  cases = list(as_case("births", births), as_case("cars", cars)))
