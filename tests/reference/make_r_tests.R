# The models that R's own tests and examples of glm() fit, fitted here: writes r_tests.json.
# Run from the root of the repository: Rscript tests/reference/make_r_tests.R
#
# `source` names the file of R 4.2.2 or MASS 7.3-58 that has the model (?x: the examples of a help
# page). Data sets are R's; where R's test draws its response, numbers were drawn here. Fits are
# restarted from their own linear predictors until nothing changes.
source("tests/reference/common.R")
library(MASS)
options(contrasts = c("contr.treatment", "contr.treatment"))

settled <- function(formula, family, data, weights, offset, start) {
  .weights <- if (is.null(weights)) rep(1, nrow(data)) else weights
  .offset <- offset
  environment(formula) <- environment()
  limits <- glm.control(maxit = 50)
  eta <- NULL
  run <- function() {
    given <- list(formula, family = family, data = data, weights = quote(.weights),
                  control = limits, start = start, etastart = quote(eta))
    if (!is.null(offset)) given$offset <- quote(.offset)
    suppressWarnings(do.call(glm, given))
  }
  fit <- run()
  # R's tolerance of dependent columns is a thousandth of epsilon.
  if (!anyNA(coef(fit))) limits$epsilon <- 1e-15
  for (i in 1:100) {
    eta <- fit$linear.predictors
    again <- run()
    change <- max(abs(again$linear.predictors - fit$linear.predictors))
    fit <- again
    if (change < 4e-15 * max(1, abs(fit$linear.predictors))) break
  }
  if (change > 1e-11 * max(1, abs(fit$linear.predictors))) stop("not settled: ", change)
  fit
}

unit_dispersion <- function(fit) grepl("^(binomial|poisson|Negative Binomial)", fit$family$family)

# `more(fit)`: what else the test asserts. `scale`: the dispersion estimated whatever the family.
case <- function(source, name, formula, family, data, weights = NULL, offset = NULL, start = NULL,
                 theta = NULL, quasi = NULL, more = function(fit) NULL) {
  fit <- settled(formula, family, data, weights, offset, start)
  dispersion <- if (unit_dispersion(fit)) 1 else summary(fit)$dispersion
  kept <- !is.na(coef(fit))
  se <- rep(NA, length(kept))
  se[kept] <- sqrt(dispersion * diag(summary(fit)$cov.unscaled))
  formula_offset <- model.offset(model.frame(fit))
  c(
    list(source = source, name = name,
         family = if (!is.null(quasi)) quasi else if (is.null(theta)) family$family
                  else "negative_binomial",
         link = family$link, theta = theta, quasi = !is.null(quasi),
         intercept = attr(terms(fit), "intercept") == 1),
    stored_data(fit, weights, if (is.null(offset) && all(formula_offset == 0)) NULL
                              else formula_offset),
    list(
      coefficients = I(unname(coef(fit))),
      standard_errors = I(se),
      dispersion = dispersion,
      deviance = fit$deviance,
      null_deviance = fit$null.deviance,
      df_residual = fit$df.residual,
      df_null = fit$df.null,
      aic = fit$aic
    ),
    more(fit)
  )
}

unnamed <- function(x) I(unname(x))

residuals_of <- function(fit) {
  kinds <- c("response", "working", "deviance", "pearson")
  found <- lapply(setNames(kinds, paste0("resid_", kinds)), function(k) unnamed(residuals(fit, k)))
  c(found, list(resid_partial = unname(residuals(fit, "partial"))))
}

influence_of <- function(fit) {
  list(
    hatvalues = unnamed(hatvalues(fit)), rstandard = unnamed(rstandard(fit)),
    rstudent = unnamed(rstudent(fit)), cooks_distance = unnamed(cooks.distance(fit)),
    dffits = unnamed(dffits(fit)), covratio = unnamed(covratio(fit))
  )
}

tables_of <- function(fit) {
  drops <- drop1(fit)
  list(assign = I(attr(model.matrix(fit), "assign")), sequential = I(anova(fit)$Deviance[-1]),
       dropped = I(drops$Deviance[-1]))
}

predicted_at <- function(new) function(fit) {
  link <- predict(fit, new, se.fit = TRUE)
  list(new_X = unname(model.matrix(delete.response(terms(fit)), new, xlev = fit$xlevels)),
       new_eta = unnamed(link$fit), new_se = unnamed(link$se.fit),
       new_mu = unnamed(predict(fit, new, type = "response")))
}

both <- function(...) function(fit) do.call(c, lapply(list(...), function(f) f(fit)))

trial <- data.frame(treatment = gl(3, 3), outcome = gl(3, 1, 9),
                    counts = c(18, 17, 15, 20, 10, 20, 25, 13, 12),
                    exposure = c(1.17, 1.78, 1, 2.36, 2.58, 0.8, 2.51, 1.16, 1.77))
larger <- glm(counts ~ treatment * outcome, poisson, trial)
clotting <- data.frame(u = c(5, 10, 15, 20, 30, 40, 60, 80, 100),
                       lot1 = c(118, 58, 42, 35, 27, 25, 21, 19, 18),
                       lot2 = c(69, 35, 26, 21, 18, 16, 13, 12, 12))
sales <- data.frame(
  x = c(5959, 3534, 2641, 1965, 1738, 1182, 667, 613, 610, 549, 527, 353, 331, 290, 253, 193, 156,
        133, 122, 114),
  y = c(5673, 3659, 2565, 2182, 1839, 1236, 918, 902, 756, 500, 487, 463, 225, 257, 311, 212, 166,
        123, 198, 99))
budworm <- data.frame(ldose = rep(0:5, 2), sex = factor(rep(c("M", "F"), c(6, 6))),
                      dead = c(1, 4, 9, 13, 18, 20, 0, 2, 6, 10, 12, 16))
cars <- within(mtcars, { mpg_c <- mpg * (1 + am) + 5; am <- factor(am) })
air <- airquality[complete.cases(airquality), ]
roller <- data.frame(weight = c(1.9, 3.1, 3.3, 4.8, 5.3, 6.1, 6.4, 7.6, 9.8, 12.4),
                     depression = c(2, 1, 5, 5, 20, 20, 23, 10, 30, 25))
service <- subset(ships, service > 0)
service$year <- factor(service$year)
service$period <- factor(service$period)
births <- with(birthwt, data.frame(low, age, lwt, race = factor(race), smoke, ptd = ptl > 0, ht,
                                   ui, ftv = factor(pmin(ftv, 2))))
babies <- data.frame(
  age = c(40, 38, 40, 35, 36, 37, 41, 40, 37, 38, 40, 38, 40, 36, 40, 38, 42, 39, 40, 37, 36, 38,
          39, 40),
  grams = c(2968, 2795, 3163, 2925, 2625, 2847, 3292, 3473, 2628, 3176, 3421, 2975, 3317, 2729,
            2935, 2754, 3210, 2817, 3126, 2539, 2412, 2991, 2875, 3231),
  sex = gl(2, 12))
counted <- data.frame(x = c(-1, -1, 0, 0, 0, 0, 1, 1, 1), y = c(2, 3, 6, 7, 8, 9, 10, 12, 15))
beetle <- data.frame(dose = c(1.6907, 1.7242, 1.7552, 1.7842, 1.8113, 1.8369, 1.861, 1.8839),
                     died = c(6, 13, 18, 28, 52, 53, 61, 60), n = c(59, 60, 62, 56, 63, 59, 62, 60))
anther <- data.frame(n = c(102, 99, 108, 76, 81, 90), x = c(55, 52, 57, 55, 50, 50),
                     g = gl(2, 3), f = rep(c(40, 150, 350), 2))
tumour <- data.frame(counts = c(22, 2, 10, 16, 54, 115, 19, 33, 73, 11, 17, 28),
                     type = gl(4, 3, 12), site = gl(3, 1, 12))
ulcer <- data.frame(
  counts = c(579, 4219, 911, 4578, 246, 3775, 361, 4532, 291, 5261, 396, 6598),
  group = gl(2, 1, 12), blood = gl(2, 2, 12), city = gl(3, 4, 12))
mice <- data.frame(x = 1:5, y = c(0, 2, 14, 19, 30), n = 40)
soap <- data.frame(
  temp = gl(2, 1, 12), user = gl(2, 2, 12), soft = gl(3, 4, 12),
  M = c(42, 30, 52, 43, 50, 23, 55, 47, 53, 27, 49, 29),
  X = c(68, 42, 37, 24, 66, 33, 47, 23, 63, 29, 57, 19))
doses <- data.frame(y = c(35, 21, 9, 6, 1), dose = c(0.0028, 0.0056, 0.0112, 0.0225, 0.045), n = 40)
hyper <- data.frame(n = c(60, 17, 8, 2, 187, 85, 51, 23), x = c(5, 2, 1, 0, 35, 13, 15, 8))
status <- as.data.frame(occupationalStatus)
status$diagonal <- factor(ifelse(status$origin == status$destination, status$origin, 0))
status$product <- (as.numeric(status$origin) - 4.5) * (as.numeric(status$destination) - 4.5)
steep <- data.frame(y = c(rep(0, 35), 1, 2, 0, 6, 8, 16, 43), beta = 42:1, tau = (42:1)^2 / 2)
hair <- as.data.frame(HairEyeColor)
line <- data.frame(
  x = 1:10, y = round_to(1:10 + 0.8 * sin(7 * (1:10)), 4), k = 1:10 %% 4, one = 1,
  count = c(8, 12, 9, 11, 7, 13, 10, 6, 14, 9), 
  waits = round_to(2 / (1:10) * (1 + 0.6 * sin(1:10)), 4))
autos <- subset(Cars93, select = c(MPG.city, Weight, Cylinders, Type, EngineSize, DriveTrain))

gaussians <- list(
  case("stats/tests/glm-etc.R", "an aliased interaction", disp ~ am * mpg + mpg_c, gaussian(), cars),
  case("stats/tests/nafns.R", "complete rows of airquality", Ozone ~ ., gaussian(), air),
  case("stats/tests/offsets.R, ?glm", "anorexia, offset", Postwt ~ Prewt + Treat, gaussian(),
    anorexia, offset = anorexia$Prewt, more = tables_of),
  case("stats/tests/simulate.R", "hills without one, weighted", time ~ 0 + dist + climb, gaussian(),
    hills[-18, ], weights = 1 / hills$dist[-18]^2),
  case("tests/reg-tests-3.R", "hills, weighted", time ~ 0 + dist + climb, gaussian(), hills,
    weights = 1 / hills$dist^2, more = tables_of),
  case("tests/lm-tests.R", "roller, weights 1 to 10", weight ~ depression, gaussian(), roller,
    weights = 1:10, more = both(residuals_of, influence_of)),
  case("tests/lm-tests.R", "roller, weights 0 to 9", weight ~ depression, gaussian(), roller,
    weights = 0:9),
  case("tests/reg-tests-1a.R", "a difference", I(y - waits) ~ 1, gaussian(), line),
  case("tests/reg-tests-1a.R", "an offset for it", y ~ 1, gaussian(), line, offset = line$waits),
  case("tests/reg-tests-1a.R", "1 to 10", x ~ 1, gaussian(), line),
  case("tests/reg-tests-2.R", "an offset and a column", y ~ k, gaussian(), line, offset = line$x),
  case("tests/reg-tests-2.R", "a column twice", y ~ x + I(x) + I(0.1 * x^2), gaussian(),
    transform(line, x = as.numeric(x))),
  case("tests/reg-tests-2.R", "the last weight 0", y ~ x, gaussian(), line,
    weights = c(rep(1, 9), 0)),
  case("tests/reg-tests-1b.R", "Cars93, a row of leverage one",
    1000 / MPG.city ~ Weight + Cylinders + Type + EngineSize + DriveTrain, gaussian(), autos,
    more = influence_of),
  case("demo(lm.glm)", "birth weights", grams ~ sex + age, gaussian(), babies),
  case("demo(lm.glm)", "birth weights, a level each", grams ~ sex + age - 1, gaussian(), babies),
  case("demo(lm.glm)", "birth weights, a line each", grams ~ sex + age - 1 + sex:age, gaussian(),
    babies),
  case("tests/reg-tests-1d.R", "log link, offset", y ~ log(x), gaussian("log"),
    data.frame(y = c(1, 1, 0.4, 0.2), x = c(5, 3, 2, 4)), offset = log(c(5, 3, 2, 4)),
    start = c(-2, 0.5)),
  case("?boot::cv.glm", "mammals", log(brain) ~ log(body), gaussian(), mammals,
    more = function(fit) list(loo = mean((residuals(fit) / (1 - hatvalues(fit)))^2)))
)

positives <- list(
  case("stats/tests/glm.R, ?glm", "clotting, lot 1", lot1 ~ log(u), Gamma(), clotting,
    more = function(fit) list(shape = gamma.shape(fit, eps.max = 1e-12, it.lim = 50)$alpha)),
  case("stats/tests/glm.R, ?glm", "clotting, lot 2", lot2 ~ log(u), Gamma(), clotting),
  case("?glm", "clotting, aliased", lot2 ~ log(u) + log(u^2), Gamma(), clotting),
  case("tests/reg-tests-1a.R", "Gamma waits", waits ~ x, Gamma(), line, more = residuals_of),
  case("stats/tests/ig_glm.R", "sales, identity", y ~ x - 1, inverse.gaussian("identity"), sales,
    weights = sales$x^2),
  case("stats/tests/ig_glm.R", "sales, inverse", y ~ I(1 / x) - 1, inverse.gaussian("inverse"),
    sales, weights = sales$x^2)
)

counts <- list(
  case("?glm, ?anova.glm, ?add1", "trial", counts ~ outcome + treatment, poisson(), trial,
    more = both(residuals_of, tables_of, function(fit) {
      list(extra = unname(model.matrix(larger)[, 6:9]),
           rao = anova(fit, larger, test = "Rao")$Rao[2])
    })),
  case("?family, tests/reg-tests-1d.R", "trial, quasi", counts ~ outcome + treatment,
    quasipoisson(), trial, quasi = "poisson", more = function(fit) {
      list(assign = I(c(0, 1, 1, 2, 2)), sequential_f = I(anova(fit, test = "F")$F[-1]))
    }),
  case("tests/reg-tests-2.R", "trial, the first weight 0", counts ~ outcome + treatment, poisson(),
    trial, weights = c(0, rep(1, 8)), more = residuals_of),
  case("tests/reg-tests-1a.R", "trial, exposure", counts ~ outcome + treatment, poisson(), trial,
    offset = log(trial$exposure), more = function(fit) {
      found <- predict(fit, se.fit = TRUE)
      list(eta = unnamed(found$fit), eta_se = unnamed(found$se.fit))
    }),
  case("tests/reg-tests-1a.R", "trial, level alone", counts ~ 1, poisson(), trial),
  case("tests/reg-tests-1a.R", "an offset of zeros", count ~ x, poisson(), line,
    offset = rep(0, 10)),
  case("tests/reg-tests-1a.R", "ships, offset", incidents ~ type + year + period, poisson(),
    service, offset = log(service$service)),
  case("demo(lm.glm)", "identity link", y ~ x, poisson("identity"), counted),
  case("demo(lm.glm)", "tumours", counts ~ type + site, poisson(), tumour),
  case("demo(lm.glm)", "ulcers", counts ~ group * (city + blood), poisson(), ulcer),
  case("demo(lm.glm)", "ulcers, fewer", counts ~ group * city + blood, poisson(), ulcer),
  case("?MASS::Insurance", "claims", Claims ~ District + Group + Age, poisson(),
    transform(Insurance, Group = factor(Group, ordered = FALSE), Age = factor(Age, ordered = FALSE)),
    offset = log(Insurance$Holders)),
  case("tests/reg-tests-1a.R, ?occupationalStatus", "status, rows of leverage one",
    Freq ~ origin + destination + diagonal + product, poisson(), status, more = influence_of),
  case("tests/reg-tests-2.R", "hair and eyes", Freq ~ .^2, poisson(), hair, more = tables_of),
  case("stats/tests/glm.R", "R's null model does not converge", y ~ beta + tau, poisson(), steep,
    offset = lchoose(42, steep$beta)),
  case("?MASS::negative.binomial", "quine, theta 2", Days ~ Sex / (Age + Eth * Lrn),
    negative.binomial(2), quine, theta = 2)
)

shares <- list(
  case("stats/tests/simulate.R, ?MASS::confint", "budworm, a level each", cbind(dead, 20 - dead) ~
    sex + ldose - 1, binomial(), budworm, more = function(fit) {
      doses <- dose.p(fit, cf = c(1, 3), p = 1:3 / 4)
      list(doses = unnamed(as.vector(doses)), doses_se = unnamed(as.vector(attr(doses, "SE"))),
           profile = unname(confint(fit)))
    }),
  case("?predict.glm", "budworm, a line each", cbind(dead, 20 - dead) ~ sex * ldose, binomial(),
    budworm, more = predicted_at(data.frame(ldose = c(0, 1.3, 5, 2.7),
                                            sex = factor(c("M", "M", "F", "F"))))),
  case("?MASS::dose.p", "budworm, probit", cbind(dead, 20 - dead) ~ sex + ldose - 1,
    binomial("probit"), budworm),
  case("tests/reg-tests-1a.R", "worms", cbind(dead, 20 - dead) ~ sex + I(ldose + 1), binomial(),
    budworm, more = predicted_at(data.frame(sex = "F", ldose = 5))),
  case("tests/reg-tests-1a.R, ?esoph", "cancer of the oesophagus",
    cbind(ncases, ncontrols) ~ agegp + unclass(tobgp) + unclass(alcgp), binomial(), esoph),
  case("tests/reg-tests-1a.R", "a row without trials", cbind(c(2, 0, 7), c(3, 0, 9)) ~ g,
    binomial(), data.frame(g = gl(3, 1))),
  case("tests/reg-tests-1a.R", "four rows", cbind(y, 10 - y) ~ x, binomial(),
    data.frame(x = 1:4, y = c(2, 6, 7, 8)), more = residuals_of),
  case("tests/reg-tests-1a.R", "one failure each", cbind(k, 1) ~ x, binomial(),
    data.frame(k = 1:7, x = 0:6)),
  case("stats/tests/simulate.R, ?MASS::birthwt", "birth weights below 2.5 kg", low ~ ., binomial(),
    births),
  case("?infert", "infertility", case ~ spontaneous + induced, binomial(), infert),
  case("?infert", "infertility, adjusted", case ~ age + parity + education + spontaneous + induced,
    binomial(), infert),
  case("?influence.measures", "mice", cbind(y, n - y) ~ x, binomial(), mice, more = influence_of),
  case("demo(lm.glm)", "beetles, logit", cbind(died, n - died) ~ dose, binomial(), beetle),
  case("demo(lm.glm)", "beetles, probit", cbind(died, n - died) ~ dose, binomial("probit"), beetle),
  case("demo(lm.glm)", "beetles, cloglog", cbind(died, n - died) ~ dose, binomial("cloglog"),
    beetle),
  case("demo(lm.glm)", "beetles, no intercept", cbind(died, n - died) ~ dose - 1,
    binomial("cloglog"), beetle),
  case("demo(lm.glm)", "anthers", cbind(x, n - x) ~ g * f, binomial(), anther),
  case("demo(lm.glm)", "anthers, groups", cbind(x, n - x) ~ g, binomial(), anther),
  case("tests/reg-tests-2.R", "detergents", cbind(X, M) ~ user + temp, binomial(), soap,
    more = tables_of),
  case("tests/reg-tests-2.R", "detergents, alone", cbind(X, M) ~ 1, binomial(), soap),
  case("MASS/tests/confint.R", "14 of 35", cbind(14, 21) ~ 1, binomial(), data.frame(one = 1),
    more = function(fit) list(profile = unname(t(confint(fit))))),
  case("MASS/tests/confint.R", "hypertension", cbind(x, n - x) ~ 1, binomial(), hyper),
  case("MASS/tests/confint.R", "2 of 22", cbind(2, 20) ~ 1, binomial(), data.frame(one = 1)),
  case("MASS/tests/confint.R", "three rows", cbind(e, n) ~ 1, binomial(),
    data.frame(e = c(2, 4, 5), n = c(4, 2, 7)),
    more = function(fit) list(profile = unname(t(confint(fit))))),
  case("MASS/tests/profile.R", "weighted counts", cbind(y, n - y) ~ dose, binomial(), doses,
    weights = 1:5),
  case("?MASS::menarche", "menarche", cbind(Menarche, Total - Menarche) ~ Age, binomial("probit"),
    menarche),
  case("?MASS::eagles", "eagles", cbind(y, n - y) ~ P * A + V, binomial(), eagles)
)

# Edges: R's numbers to its own tolerance, no standard errors.
edge <- function(source, name, x, y, start) {
  fit <- suppressWarnings(glm(y ~ x, poisson("identity"), start = start,
                              control = glm.control(maxit = 500)))
  list(source = source, name = name, x = I(x), y = I(y), coefficients = unnamed(coef(fit)),
       deviance = fit$deviance, boundary = fit$boundary)
}
spread <- round(3 * qnorm(ppoints(60)) / 2.5, 2)[order(sin(1:60))]
edges <- list(
  edge("tests/reg-tests-2.R", "0 and 1", spread, as.numeric(spread + 1.5 * cos(3 * (1:60)) > 0),
       c(1, 0)),
  edge("tests/reg-tests-2.R", "means of zero", spread, pmax(0, round(3 * spread + cos(5 * (1:60)))),
       c(1, 0))
)

# glm.nb with weights that stand for repeated rows, and one model of quine.
steady_nb <- function(fit, weights, y) {
  for (i in 1:200) {
    theta <- suppressWarnings(theta.ml(y, fitted(fit), weights = weights, limit = 50, eps = 1e-15))
    old <- coef(fit)
    fit <- update(fit, family = negative.binomial(c(theta)), control = glm.control(1e-15, 100))
    if (max(abs(coef(fit) - old)) < 1e-15) break
  }
  list(coefficients = unnamed(coef(fit)), theta = c(theta), theta_se = attr(theta, "SE"),
       deviance = fit$deviance)
}
yeast <- data.frame(numbers = 0:5, fr = c(213, 128, 37, 18, 3, 1))
yeast_fit <- glm(numbers ~ 1, negative.binomial(3), yeast, weights = fr)
growth <- c(list(source = "MASS/tests/glm.nb.R", y = I(yeast$numbers), fr = I(yeast$fr)),
            steady_nb(yeast_fit, yeast$fr, yeast$numbers))

# make.link()'s functions at 0, 1/4, ..., 1.
names_of_links <- c("logit", "probit", "cauchit", "cloglog", "identity", "log", "sqrt", "1/mu^2",
                    "inverse")
grid <- (0:4) / 4
functions <- lapply(setNames(, names_of_links), function(name) {
  link <- make.link(name)
  list(linkfun = I(link$linkfun(grid)), linkinv = I(link$linkinv(grid)),
       mu_eta = I(link$mu.eta(grid)))
})

write_reference("make_r_tests.R", "MASS", "r_tests.json",
  cases = c(gaussians, positives, counts, shares), edges = edges, yeast = growth,
  links = list(at = I(grid), functions = functions))
