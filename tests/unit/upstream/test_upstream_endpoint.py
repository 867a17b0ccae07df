import pytest
from aiobotocore.session import AioSession
from botocore.exceptions import InvalidRegionError
from yarl import URL

from proxy.upstream.endpoint import (
    ENDPOINTS_REMEMBERED_MAX,
    Endpoints,
    endpoint_of,
    find_region,
    is_loopback,
    proxy_of,
    trusted_roots,
)
from proxy.upstream.settings import UpstreamConfigurationError
from tests.support.aws_environment import use_aws_environment

ARN = "arn:aws:kinesis:eu-west-1:210987654321:stream/orders"


@pytest.fixture(autouse=True)
def _aws_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    use_aws_environment(monkeypatch)


def hosts(region: str, override: str | None = None) -> Endpoints:
    """Return the endpoints of a region, by the test's AWS configuration."""
    return Endpoints(AioSession(), region, None if override is None else endpoint_of(override))


def test_region_setting_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxy's own setting comes before what the AWS configuration says."""
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    assert find_region(AioSession(), "eu-north-1", has_url=False) == "eu-north-1"


def test_region_is_read_from_either_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """AWS_REGION, which botocore does not know, comes before AWS_DEFAULT_REGION, as in every other SDK."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-2")
    assert find_region(AioSession(), None, has_url=False) == "eu-west-2"
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    assert find_region(AioSession(), None, has_url=False) == "eu-west-1"


def test_missing_region_names_what_to_set() -> None:
    """Without a region nothing can be signed."""
    with pytest.raises(UpstreamConfigurationError, match=r"--region, KINESIS_PROXY_REGION, AWS_REGION"):
        find_region(AioSession(), None, has_url=False)


def test_missing_region_is_assumed_for_a_url() -> None:
    """Local servers do not care about the region."""
    assert find_region(AioSession(), None, has_url=True) == "us-east-1"


def test_impossible_region_is_refused() -> None:
    """It would become part of a host name."""
    with pytest.raises(InvalidRegionError):
        find_region(AioSession(), "evil.example/", has_url=False)


@pytest.mark.parametrize(
    ("region", "host"),
    [
        ("us-east-1", "kinesis.us-east-1.amazonaws.com"),
        ("cn-north-1", "kinesis.cn-north-1.amazonaws.com.cn"),
        ("us-gov-west-1", "kinesis.us-gov-west-1.amazonaws.com"),
    ],
)
def test_regional_endpoint_is_botocores(region: str, host: str) -> None:
    """Partitions have their own domains."""
    assert hosts(region).for_put(None, None) == (URL(f"https://{host}/"), host)


def test_fips_and_dual_stack_follow_the_aws_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rule set knows what their hosts are called."""
    monkeypatch.setenv("AWS_USE_FIPS_ENDPOINT", "true")
    assert hosts("us-east-1").regional.host == "kinesis-fips.us-east-1.amazonaws.com"
    monkeypatch.setenv("AWS_USE_DUALSTACK_ENDPOINT", "true")
    assert hosts("us-east-1").regional.host == "kinesis-fips.us-east-1.api.aws"


def test_stream_addressed_by_arn_goes_to_its_accounts_endpoint() -> None:
    """As every SDK does, so that a stream of another account is reached."""
    assert hosts("eu-west-1").for_put(ARN, None).host == "210987654321.data-kinesis.eu-west-1.amazonaws.com"


def test_credentials_that_name_their_account_choose_its_endpoint() -> None:
    """As every SDK does in its default mode."""
    assert hosts("eu-west-1").for_put(None, "123456789012").host == (
        "123456789012.data-kinesis.eu-west-1.amazonaws.com"
    )


def test_account_endpoints_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the SDKs' own setting."""
    monkeypatch.setenv("AWS_ACCOUNT_ID_ENDPOINT_MODE", "disabled")
    assert hosts("eu-west-1").for_put(None, "123456789012").host == "kinesis.eu-west-1.amazonaws.com"


def test_arn_that_fits_no_rule_goes_to_the_regional_endpoint() -> None:
    """The service itself knows the right words to refuse it with."""
    arn = ARN.replace("arn:aws:", "arn:aws-cn:")
    assert hosts("eu-west-1").for_put(arn, None).host == "kinesis.eu-west-1.amazonaws.com"


def test_remembered_endpoints_are_bounded() -> None:
    """Callers choose ARNs: they must not fill the memory."""
    endpoints = hosts("eu-west-1")
    for account in range(ENDPOINTS_REMEMBERED_MAX + 1):
        endpoints.for_put(None, f"{account:012}")
    assert len(endpoints._remembered) == 1


def test_url_overrides_every_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    """A URL takes puts to any stream of any account, and FIPS has no say."""
    monkeypatch.setenv("AWS_USE_FIPS_ENDPOINT", "true")
    endpoints = hosts("eu-west-1", "http://127.0.0.1:4567")
    assert endpoints.for_put(ARN, "123456789012") == (URL("http://127.0.0.1:4567/"), "127.0.0.1:4567")


def test_endpoints_of_the_aws_configuration_are_not_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are how producers are pointed at the proxy: it would send to itself."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:4567")
    monkeypatch.setenv("AWS_ENDPOINT_URL_KINESIS", "http://127.0.0.1:4567")
    assert hosts("eu-west-1").regional.host == "kinesis.eu-west-1.amazonaws.com"


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://localhost:4567", "localhost:4567"),
        ("https://kinesis.example/", "kinesis.example"),
        ("https://kinesis.example:443", "kinesis.example"),
        ("http://[::1]:4567", "[::1]:4567"),
    ],
)
def test_host_header_leaves_out_the_schemes_own_port(url: str, host: str) -> None:
    """It is signed, and must be what every HTTP client sends."""
    assert endpoint_of(url).host == host


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:4567",
        "ftp://localhost",
        "http://",
        "http://h/path",
        "http://h/?q=1",
        "http://u:p@h/",
        "http://h:x",
    ],
)
def test_url_that_is_more_or_less_than_an_origin_is_refused(url: str) -> None:
    """Requests go to its root, and credentials have no place in it."""
    with pytest.raises(UpstreamConfigurationError, match=r"http\[s\]://host\[:port\]"):
        endpoint_of(url)


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("http://localhost:1", True),
        ("http://127.8.9.1:1", True),
        ("http://[::1]:1", True),
        ("http://10.0.0.1:1", False),
        ("http://localhost.example:1", False),
        ("https://kinesis.eu-west-1.amazonaws.com", False),
    ],
)
def test_loopback_is_told_by_name_or_address(url: str, local: bool) -> None:  # noqa: FBT001 - a table's column
    """Only there may made-up credentials be used."""
    assert is_loopback(endpoint_of(url)) is local


def test_http_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """As botocore does, with its exceptions."""
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    assert proxy_of(endpoint_of("https://kinesis.eu-west-1.amazonaws.com")) == URL("http://proxy.example:3128")
    assert proxy_of(endpoint_of("https://127.0.0.1:4567")) is None
    assert proxy_of(endpoint_of("http://kinesis.example")) is None


def test_trusted_roots_follow_the_aws_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    """Private roots are named there; otherwise those that botocore brings along are used."""
    assert trusted_roots(AioSession()).endswith(".pem")
    monkeypatch.setenv("AWS_CA_BUNDLE", "/etc/private-roots.pem")
    assert trusted_roots(AioSession()) == "/etc/private-roots.pem"
