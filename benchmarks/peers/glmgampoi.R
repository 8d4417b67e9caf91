here <- dirname(sub("--file=", "", grep("--file=", commandArgs(), value = TRUE)))
source(file.path(here, "arrays.R"))
suppressPackageStartupMessages(library(glmGamPoi))
fit_genes <- function(Y) {
  glm_gp(t(Y), design = X, size_factors = exp(offset), overdispersion = TRUE,
         overdispersion_shrinkage = FALSE, do_cox_reid_adjustment = FALSE, subsample = FALSE)
}
invisible(fit_genes(Y[, seq_len(min(lanes, 10)), drop = FALSE]))
seconds <- system.time(fit <- fit_genes(Y))[["elapsed"]]
give(t(fit$Beta), seconds)
