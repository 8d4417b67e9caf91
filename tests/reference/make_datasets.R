# Writes datasets.json: facts about the public data sets, taken from R's own copies of them
# (MASS and datasets) or, where R has none, from the publication named beside the number.
# Run from the repository root:  Rscript tests/reference/make_datasets.R
library(MASS)
library(jsonlite)

design <- function(formula, data) {
  x <- model.matrix(formula, data)[, -1, drop = FALSE]
  list(names = colnames(x), sums = unname(colSums(x)), squares = unname(colSums(x^2)))
}

facts <- function(name, endog, formula, data, fit, ...) {
  list(name = name, n = length(endog), endog_sum = sum(endog), endog_squares = sum(endog^2),
       exog = design(formula, data), coef = unname(coef(fit)), deviance = deviance(fit), ...)
}

tight <- glm.control(epsilon = 1e-15, maxit = 200)
refit <- function(fit) update(fit, start = coef(fit))

at_sea <- subset(ships, service > 0)
at_sea$year <- factor(at_sea$year)
at_sea$period <- factor(at_sea$period)
ship_terms <- ~ type + year + period
ship_fit <- refit(glm(update(ship_terms, incidents ~ . + offset(log(service))),
                      poisson, at_sea, control = tight))

quine_terms <- ~ Eth + Sex + Age + Lrn
quine_fit <- refit(glm(update(quine_terms, Days ~ .), poisson, quine, control = tight))

loom_terms <- ~ wool + tension
loom_fit <- refit(glm(update(loom_terms, breaks ~ .), poisson, warpbreaks, control = tight))

# Collett (1991, p. 75), as printed in chapter 7 of Venables and Ripley's scripts.
script <- readLines(system.file("scripts", "ch07.R", package = "MASS"))
numdead <- eval(parse(text = sub(".*<-", "", grep("^numdead <-", script, value = TRUE)[1])))
moths <- data.frame(sex = factor(rep(c("M", "F"), c(6, 6))), ldose = rep(0:5, 2))
moth_terms <- ~ sex + ldose
moth_share <- numdead / 20
moth_fit <- refit(glm(update(moth_terms, moth_share ~ .), binomial, moths,
                      weights = rep(20, 12), control = tight))

# Dalal, Fowlkes and Hoadley (1989, section 4): the binomial fit on temperature they report.
challenger <- list(name = "challenger", n = 23, damaged = 9, n_trials_sum = 138,
                   published_coef = c(5.085, -0.1156))

out <- list(
  versions = list(R = as.character(getRversion()), MASS = as.character(packageVersion("MASS"))),
  ships = facts("ships", at_sea$incidents, ship_terms, at_sea, ship_fit,
                exposure_sum = sum(at_sea$service)),
  quine = facts("quine", quine$Days, quine_terms, quine, quine_fit),
  warpbreaks = facts("warpbreaks", warpbreaks$breaks, loom_terms, warpbreaks, loom_fit),
  budworm = facts("budworm", moth_share, moth_terms, moths, moth_fit, n_trials_sum = 240),
  challenger = challenger
)
write(toJSON(out, digits = 15, auto_unbox = TRUE, pretty = TRUE), "tests/reference/datasets.json")
