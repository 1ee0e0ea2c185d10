"""Idempotency-Key through fal's own Python client."""

from fal_python import APP, refusal


def submit(fal, key, prompt="x"):
    return fal.submit(APP, {"prompt": prompt, "model": "test/ok"}, headers={"Idempotency-Key": key})


def test_a_submit_that_comes_again_is_the_first_request(fal):
    key = f"order-{fal.cell_id}"
    first, again = submit(fal, key), submit(fal, key)
    assert again.request_id == first.request_id
    assert again.response_url == first.response_url
    assert again.get() == first.get()
    assert submit(fal, key).request_id == first.request_id
    assert submit(fal, key + "-other").request_id != first.request_id


def test_another_input_with_the_key_is_refused(fal):
    key = f"other-{fal.cell_id}"
    submit(fal, key)
    error = refusal(lambda f: submit(f, key, "y"), fal)
    assert error.status_code == 422
