"""Failed asserts of the contract classes say what they compared, as those of test files do."""

import pytest

pytest.register_assert_rewrite(
    "tests.contract.batches_contract_claims",
    "tests.contract.batches_contract_cleanup",
    "tests.contract.batches_contract_endings",
    "tests.contract.batches_contract_events",
    "tests.contract.batches_contract_figures",
    "tests.contract.batches_contract_holds",
    "tests.contract.batches_contract_leases",
    "tests.contract.batches_contract_life",
    "tests.contract.batches_contract_listing",
    "tests.contract.batches_contract_outcomes",
    "tests.contract.batches_contract_retry",
    "tests.contract.batches_contract_steps",
    "tests.contract.batches_contract_submission",
    "tests.contract.batches_contract_views",
    "tests.contract.documents_contract_deleting",
    "tests.contract.documents_contract_filters",
    "tests.contract.documents_contract_listing",
    "tests.contract.documents_contract_publishing",
    "tests.contract.documents_contract_search",
    "tests.contract.documents_contract_steps",
    "tests.contract.documents_contract_vectors",
    "tests.contract.replication_contract_batches",
    "tests.contract.replication_contract_conflicts",
    "tests.contract.replication_contract_documents",
    "tests.contract.replication_contract_losses",
    "tests.contract.replication_contract_marks",
)
