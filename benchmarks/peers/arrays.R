# Reads the arrays that scripts.py wrote, and writes coefficients (lanes in columns) and seconds.
arguments <- commandArgs(trailingOnly = TRUE)
folder <- arguments[1]
family <- arguments[2]
lanes <- as.integer(arguments[3])
n <- as.integer(arguments[4])
p <- as.integer(arguments[5])
take <- function(name, count) readBin(file.path(folder, name), "double", count)
X <- matrix(take("X", n * p), n, p)
Y <- matrix(take("y", n * lanes), n, lanes)
offset <- take("offset", n)
give <- function(params, seconds) {
  writeBin(as.vector(params), file.path(folder, "params"))
  writeBin(as.double(seconds), file.path(folder, "seconds"))
}
