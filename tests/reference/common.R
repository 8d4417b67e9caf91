# Shared by the R scripts of this folder: a compact JSON writer that keeps every bit of a double,
# and fits restarted from their own solution until nothing changes.

folder <- "tests/reference"

number_text <- function(x) {
  if (is.na(x)) return("null")
  if (is.infinite(x)) return(if (x > 0) "1e999" else "-1e999")
  for (digits in 15:17) {
    text <- sprintf("%.*g", digits, x)
    if (as.numeric(text) == x) return(text)
  }
  text
}

quote_text <- function(x) paste0('"', gsub('"', '\\\\"', gsub("\\\\", "\\\\\\\\", x)), '"')

scalar_text <- function(x) {
  if (is.character(x)) quote_text(x)
  else if (is.logical(x)) (if (is.na(x)) "null" else if (x) "true" else "false")
  else number_text(x)
}

# A vector of length one is a scalar unless wrapped in I(); a matrix is a list of rows.
to_json <- function(x) {
  if (is.null(x)) return("null")
  if (is.matrix(x)) {
    rows <- apply(unname(x), 1, function(row) to_json(I(row)))
    return(paste0("[", paste(rows, collapse = ","), "]"))
  }
  if (is.list(x)) {
    parts <- vapply(x, to_json, "")
    if (is.null(names(x))) return(paste0("[", paste(parts, collapse = ",\n"), "]"))
    return(paste0("{", paste(vapply(names(x), quote_text, ""), parts, sep = ":", collapse = ","), "}"))
  }
  if (is.factor(x)) x <- as.character(x)
  parts <- vapply(unclass(unname(x)), scalar_text, "")
  if (length(parts) == 1 && !inherits(x, "AsIs")) parts else paste0("[", paste(parts, collapse = ","), "]")
}

write_reference <- function(script, packages, file, ...) {
  used <- vapply(packages, function(p) as.character(packageVersion(p)), "")
  versions <- c(list(R = paste(R.version$major, R.version$minor, sep = ".")), as.list(used))
  writeLines(to_json(list(made_by = script, versions = versions, ...)), file.path(folder, file))
}

round_to <- function(x, digits = 4) signif(x, digits)

# glm() stops one step after the deviance settles and reports the weights of the step before;
# restarting from its own solution brings both to the fixed point.
fit_fully <- function(formula, family, data, weights = NULL, offset = NULL, start = NULL) {
  data$.weights <- if (is.null(weights)) rep(1, nrow(data)) else weights
  data$.offset <- if (is.null(offset)) rep(0, nrow(data)) else offset
  environment(formula) <- environment()
  run <- function(start) {
    suppressWarnings(glm(formula, family = family, data = data, weights = .weights, offset = .offset,
      start = start, control = glm.control(epsilon = 1e-15, maxit = 50)))
  }
  fit <- run(start)
  for (i in 1:400) {
    again <- run(coef(fit))
    change <- max(abs(coef(again) - coef(fit)) / (abs(coef(fit)) + 1e-8))
    fit <- again
    if (change < 2e-15) break
  }
  if (change > 1e-12 || fit$boundary) stop("not settled: ", deparse(formula), change)
  fit
}

# The data of a fit as jaxglm takes them: binomial counts become proportions and n_trials.
stored_data <- function(fit, weights = NULL, offset = NULL) {
  counts <- is.matrix(model.response(model.frame(fit)))
  list(
    X = unname(model.matrix(fit)),
    y = I(unname(fit$y)),
    n_trials = if (counts) I(unname(rowSums(model.response(model.frame(fit))))) else NULL,
    var_weights = if (is.null(weights)) NULL else I(weights),
    offset = if (is.null(offset)) NULL else I(offset)
  )
}
