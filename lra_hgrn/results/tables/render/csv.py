"""A table as comma-separated values, for programs."""

import csv
import io

from lra_hgrn.results.tables.table import Table


def to_csv(table: Table) -> str:
    """Render one line for each row with exact numbers: shares in [0, 1], bytes, seconds⁻¹.

    What is missing is an empty field, which every reader of CSV takes as missing. Notes, remarks and headings are
    left out: whatever they say of a row has a field.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([name for column in table.columns for name in column.fields])
    for row in table.rows:
        writer.writerow(["" if value is None else value for entry in row for value in entry.values])
    return buffer.getvalue()
