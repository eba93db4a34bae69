"""The accounts of all domains whose rows name files."""

from typing import Final

from app.accounting.accounts import Accounts
from app.datasets.repository import DatasetRepository
from app.jobs.repository import JobRepository
from app.uploads.repository import UploadRepository

ACCOUNTS: Final = Accounts(JobRepository, UploadRepository, DatasetRepository)
