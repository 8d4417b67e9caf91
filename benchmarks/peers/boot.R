# boot::boot of a logistic regression: Rscript boot.R DATA REPS CORES prints one JSON object.
library(boot)

arguments <- commandArgs(TRUE)
data <- as.matrix(read.csv(arguments[1], header = FALSE))
statistic <- function(data, index) {
  rows <- data[index, , drop = FALSE]
  coef(glm.fit(rows[, -1], rows[, 1], family = binomial()))
}
set.seed(1)
seconds <- system.time(
  found <- boot(data, statistic, R = as.integer(arguments[2]), parallel = "multicore",
    ncpus = as.integer(arguments[3]))
)[["elapsed"]]
spread <- paste(sprintf("%.17g", apply(found$t, 2, sd)), collapse = ", ")
cat(sprintf('{"seconds": %.6f, "result": [%s]}\n', seconds, spread))
