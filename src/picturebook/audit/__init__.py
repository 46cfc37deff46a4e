"""Does a teacher read the picture or the label? Probes, indices and a verdict (docs/audit.md)."""

from picturebook.audit.audited import Answer, AuditData, Kind
from picturebook.audit.probes import Probe
from picturebook.audit.stored import read_audit
from picturebook.audit.summary import COLUMNS, headline, summary_rows
from picturebook.audit.teacher import Audit, audit_teacher, default_num_noise
from picturebook.audit.verdict import Verdict, num_for_a_pass

__all__ = [
    "COLUMNS",
    "Answer",
    "Audit",
    "AuditData",
    "Kind",
    "Probe",
    "Verdict",
    "audit_teacher",
    "default_num_noise",
    "headline",
    "num_for_a_pass",
    "read_audit",
    "summary_rows",
]
