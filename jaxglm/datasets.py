"""The few small public data sets that the examples and the tests use.

Each function reads one published table and returns a `Dataset`: the response, the design it is
usually fitted with (factors in treatment coding, no constant), and the columns as published.
"""

import csv
from dataclasses import dataclass, replace
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Columns = dict[str, NDArray]


@dataclass(frozen=True, eq=False, kw_only=True)
class Dataset:
    """A response, its design and where they come from.

    Attributes:
        name: what the table is called.
        endog: the response, float64 of shape (n,); for a binomial table the proportion of
            successes, with `n_trials` beside it.
        exog: the design, float64 of shape (n, p), without a constant.
        endog_name: the name of the response.
        exog_names: the names of the p columns of `exog`.
        columns: the table as published, one array of length n per column, texts included:
            what a formula needs (``pandas.DataFrame(data.columns)``).
        exposure: the exposure of each row, (n,), where the response is a count over one.
        n_trials: the trials of each row, (n,), where the response is a proportion.
        source: the publication.
        licence: on what terms the values may be used.
    """

    name: str
    endog: FloatArray
    exog: FloatArray
    endog_name: str
    exog_names: tuple[str, ...]
    columns: Columns
    exposure: FloatArray | None = None
    n_trials: FloatArray | None = None
    source: str
    licence: str

    def with_constant(self) -> "Dataset":
        """The same data with a column of ones, named ``const``, before the others.

        >>> from jaxglm import datasets
        >>> datasets.scotland().with_constant().exog_names[:2]
        ('const', 'COUTAX')
        """
        ones = np.ones((len(self.endog), 1))
        return replace(
            self,
            exog=np.concatenate([ones, self.exog], axis=1),
            exog_names=("const", *self.exog_names),
        )

    @property
    def response(self) -> dict[str, FloatArray]:
        """The response under its name, as `GLM` takes it."""
        return {self.endog_name: self.endog}

    @property
    def design(self) -> dict[str, FloatArray]:
        """The columns of `exog` under their names, as `GLM` takes them."""
        return dict(zip(self.exog_names, self.exog.T, strict=True))


def scotland() -> Dataset:
    """The vote of 1997 on tax powers for the Scottish parliament, by council district (n = 32).

    YES is the percentage who voted for; COUTAX the council tax in pounds, UNEMPF the female
    percentage of unemployment claims, MOR the standardised mortality ratio (UK = 100), ACT the
    percentage economically active, GDP per region, AGE the percentage aged 5 to 15, and
    COUTAX_FEMALEUNEMP the product of COUTAX and UNEMPF. Gill fits a Gamma model.

    Source: Gill (2000), Generalized Linear Models: A Unified Approach; official
    results and statistics, facts that carry no copyright.

    >>> from jaxglm import datasets
    >>> datasets.scotland().exog.shape
    (32, 7)
    """
    table = _read("scotland")
    names = ("COUTAX", "UNEMPF", "MOR", "ACT", "GDP", "AGE", "COUTAX_FEMALEUNEMP")
    return Dataset(
        name="scotland",
        endog=table["YES"],
        exog=np.column_stack([table[name] for name in names]),
        endog_name="YES",
        exog_names=names,
        columns=table,
        source="Gill (2000), Generalized Linear Models: A Unified Approach",
        licence="official results and statistics; facts, no copyright",
    )


def ships() -> Dataset:
    """Wave damage to the forward section of cargo ships, with months of service (n = 34).

    `endog` counts damage incidents and `exposure` is the aggregate months of service; the design
    is ship type (A to E), year of construction (60, 65, 70, 75) and period of operation (60, 75).
    The six cells of the published table without service are left out. McCullagh and Nelder fit
    an overdispersed Poisson model with the offset log(service).

    Source: McCullagh and Nelder (1989), Generalized Linear Models, section 6.3.2; a published
    table of facts, no copyright.

    >>> from jaxglm import datasets
    >>> int(datasets.ships().endog.sum())
    356
    """
    published = _read("ships")
    table = {name: values[published["service"] > 0] for name, values in published.items()}
    dummies = {
        **_treatment("type", table["type"], ("A", "B", "C", "D", "E")),
        **_treatment("year", table["year"], (60, 65, 70, 75)),
        **_treatment("period", table["period"], (60, 75)),
    }
    return Dataset(
        name="ships",
        endog=table["incidents"],
        exog=np.column_stack(list(dummies.values())),
        endog_name="incidents",
        exog_names=tuple(dummies),
        columns=table,
        exposure=table["service"],
        source="McCullagh and Nelder (1989), Generalized Linear Models, section 6.3.2",
        licence="a published table of facts, no copyright",
    )


def quine() -> Dataset:
    """Days absent from school of children in Walgett, New South Wales (n = 146).

    `endog` is the days absent in a school year; the design is ethnic background (A aboriginal,
    N not), sex, age group (F0 primary, F1 to F3 forms) and learner (AL average, SL slow). The
    counts are strongly overdispersed: the usual example of a negative binomial model.

    Source: Quine (1975), doctoral thesis, Australian National University, in Aitkin (1978),
    J. R. Statist. Soc. A 141, 195-223; a published table of facts, no copyright.

    >>> from jaxglm import datasets
    >>> datasets.quine().exog_names
    ('EthN', 'SexM', 'AgeF1', 'AgeF2', 'AgeF3', 'LrnSL')
    """
    table = _read("quine")
    dummies = {
        **_treatment("Eth", table["Eth"], ("A", "N")),
        **_treatment("Sex", table["Sex"], ("F", "M")),
        **_treatment("Age", table["Age"], ("F0", "F1", "F2", "F3")),
        **_treatment("Lrn", table["Lrn"], ("AL", "SL")),
    }
    return Dataset(
        name="quine",
        endog=table["Days"],
        exog=np.column_stack(list(dummies.values())),
        endog_name="Days",
        exog_names=tuple(dummies),
        columns=table,
        source="Quine (1975), in Aitkin (1978), J. R. Statist. Soc. A 141, 195-223",
        licence="a published table of facts, no copyright",
    )


def warpbreaks() -> Dataset:
    """Breaks of the warp yarn during weaving, by wool and tension (n = 54).

    `endog` counts breaks per loom of a fixed length of warp; the design is wool (A, B) and
    tension (L, M, H), nine looms to a cell.

    Source: Tippett (1950), Technological Applications of Statistics, p. 106; a published table
    of facts, no copyright.

    >>> from jaxglm import datasets
    >>> int(datasets.warpbreaks().endog.sum())
    1520
    """
    table = _read("warpbreaks")
    dummies = {
        **_treatment("wool", table["wool"], ("A", "B")),
        **_treatment("tension", table["tension"], ("L", "M", "H")),
    }
    return Dataset(
        name="warpbreaks",
        endog=table["breaks"],
        exog=np.column_stack(list(dummies.values())),
        endog_name="breaks",
        exog_names=tuple(dummies),
        columns=table,
        source="Tippett (1950), Technological Applications of Statistics, p. 106",
        licence="a published table of facts, no copyright",
    )


def challenger() -> Dataset:
    """Distressed O-rings in the 23 shuttle flights before the last of Challenger (n = 23).

    `endog` is the share of the `n_trials` = 6 primary field-joint O-rings with erosion or
    blow-by (``columns["damaged"]`` is their number), the design is the joint temperature in
    degrees Fahrenheit; the 24th launch was at 31.

    Source: Report of the Presidential Commission on the Space Shuttle Challenger Accident (1986),
    a work of the United States government in the public domain; as tabulated by Dalal, Fowlkes
    and Hoadley (1989), J. Amer. Statist. Assoc. 84, 945-957.

    >>> from jaxglm import datasets
    >>> int(datasets.challenger().columns["damaged"].sum())
    9
    """
    table = _read("challenger")
    return Dataset(
        name="challenger",
        endog=table["damaged"] / table["n_trials"],
        exog=table["temperature"][:, None],
        endog_name="damaged",
        exog_names=("temperature",),
        columns=table,
        n_trials=table["n_trials"],
        source="Dalal, Fowlkes and Hoadley (1989), J. Amer. Statist. Assoc. 84, 945-957",
        licence="public domain (report of a United States government commission, 1986)",
    )


def budworm() -> Dataset:
    """Tobacco budworm moths killed by doses of trans-cypermethrin (n = 12).

    `endog` is the share of the `n_trials` = 20 moths dead or knocked down after three days
    (``columns["numdead"]`` is their number); the design is sex (F, M) and the base-two logarithm
    of the dose in micrograms, 0 to 5.

    Source: Collett (1991), Modelling Binary Data, p. 75; a published table of facts, no copyright.

    >>> from jaxglm import datasets
    >>> datasets.budworm().exog_names
    ('sexM', 'ldose')
    """
    table = _read("budworm")
    sex = _treatment("sex", table["sex"], ("F", "M"))
    return Dataset(
        name="budworm",
        endog=table["numdead"] / table["n_trials"],
        exog=np.column_stack([*sex.values(), table["ldose"]]),
        endog_name="numdead",
        exog_names=(*sex, "ldose"),
        columns=table,
        n_trials=table["n_trials"],
        source="Collett (1991), Modelling Binary Data, p. 75",
        licence="a published table of facts, no copyright",
    )


def _read(name: str) -> Columns:
    text = (files("jaxglm") / "_data" / f"{name}.csv").read_text(encoding="utf-8")
    header, *rows = csv.reader(text.splitlines())
    return {
        title: _column(values)
        for title, values in zip(header, zip(*rows, strict=True), strict=True)
    }


def _column(values: tuple[str, ...]) -> NDArray:
    try:
        return np.array(values, dtype=np.float64)
    except ValueError:
        return np.array(values)


def _treatment(name: str, column: NDArray, levels: tuple) -> dict[str, FloatArray]:
    """One 0/1 column for each level but the first, which is the baseline."""
    return {f"{name}{level}": (column == level).astype(np.float64) for level in levels[1:]}
