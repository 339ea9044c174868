import pytest

from advsim.errors import DeliveryError
from advsim.models.adapter import Canary
from advsim.records import AdapterRef
from advsim.rollout.delivery import Acknowledgement, Delivery, check_acknowledgements

DELIVERY = Delivery(
    adapter=AdapterRef(version=2, path="rounds/02/adapter", sha256="good"),
    files={},
    canary=Canary(prompt_ids=(1,), completion_ids=(2, 3)),
    canary_logprobs=(-1.0, -2.0),
)


def acknowledgement(engine="simulator-0", version=2, sha256="good", canary_logprobs=(-1.02, -1.97)):
    return Acknowledgement(engine=engine, version=version, sha256=sha256, canary_logprobs=canary_logprobs, seconds=0.1)


def check(*acknowledgements):
    check_acknowledgements(DELIVERY, acknowledgements, engines=["simulator-0", "simulator-1"])


def test_right_acknowledgements_pass():
    check(acknowledgement(), acknowledgement("simulator-1"))


def test_missing_acknowledgement_stops_the_round():
    with pytest.raises(DeliveryError, match="no acknowledgement from simulator-1"):
        check(acknowledgement())


@pytest.mark.parametrize("wrong", [{"version": 1}, {"sha256": "other"}])
def test_wrong_version_or_hash_stops_the_round(wrong):
    with pytest.raises(DeliveryError, match="simulator-1 acknowledged"):
        check(acknowledgement(), acknowledgement("simulator-1", **wrong))


@pytest.mark.parametrize("logprobs", [(-3.0, -2.0), (-1.0,), ()])
def test_engine_that_holds_the_files_but_does_not_speak_with_them_stops_the_round(logprobs):
    with pytest.raises(DeliveryError, match="does not speak with it"):
        check(acknowledgement(), acknowledgement("simulator-1", canary_logprobs=logprobs))
