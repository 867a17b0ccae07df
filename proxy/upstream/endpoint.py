"""Where requests go: region, endpoint, HTTP proxy and trusted roots, all by botocore's rules.

Decides that the endpoints which the AWS configuration names for Kinesis (`AWS_ENDPOINT_URL_KINESIS`,
`AWS_ENDPOINT_URL`, the profile's `endpoint_url`) are not followed: they are how producers are pointed at this proxy,
and in a shared environment it would send to itself. Its own setting is the only override.

Without one, puts use the endpoint that botocore's rule set gives for the data plane: the regional one, or, as every
SDK does, the account's own where the stream is addressed by ARN or the credentials name their account. FIPS and
dual-stack are the rule set's matter too. With a URL everything goes there.

Source: botocore's endpoint-rule-set-1 and partitions for Kinesis.
"""

from __future__ import annotations

import os
import ssl
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog
from botocore.endpoint_provider import EndpointProvider
from botocore.exceptions import EndpointProviderError
from botocore.httpsession import get_cert_path
from botocore.utils import get_environ_proxies, validate_region_name
from yarl import URL

from proxy.upstream.settings import UpstreamConfigurationError

if TYPE_CHECKING:
    from aiobotocore.session import AioSession

REGION_OF_URL = "us-east-1"
ENDPOINTS_REMEMBERED_MAX = 1024
UNFOLLOWED_VARIABLES = ("AWS_ENDPOINT_URL_KINESIS", "AWS_ENDPOINT_URL")

_log = structlog.get_logger(__name__)


class Endpoint(NamedTuple):
    """One endpoint; `host` is the Host header's value."""

    url: URL
    host: str


def find_region(session: AioSession, configured: str | None, *, has_url: bool) -> str:
    """Return the region to sign for.

    Args:
        session: for what the AWS configuration says.
        configured: the setting; wins.
        has_url: whether everything goes to a URL of the operator's.

    Raises:
        UpstreamConfigurationError: none is configured and there is no URL.
        botocore.exceptions.BotoCoreError: it is no region's name, or the profile does not exist.
    """
    # botocore alone of all SDKs does not read AWS_REGION, which is what containers are given.
    region = configured or os.environ.get("AWS_REGION") or session.get_config_variable("region")
    if region is None:
        if not has_url:
            raise UpstreamConfigurationError(
                "no AWS region: set --region, KINESIS_PROXY_REGION, AWS_REGION or AWS_DEFAULT_REGION, or a region in "
                "the AWS profile; or choose another upstream than aws"
            )
        _log.info("region_assumed", region=REGION_OF_URL, reason="an upstream URL is given and no region")
        region = REGION_OF_URL
    validate_region_name(region)
    return str(region)


def endpoint_of(url: str) -> Endpoint:
    """Return the endpoint at a URL.

    Raises:
        UpstreamConfigurationError: it is more or less than scheme, host and port.
    """
    try:
        parsed = URL(url)
        plain = parsed.scheme in {"http", "https"} and parsed == parsed.origin().with_path("/")
        host = parsed.host_port_subcomponent
    except ValueError:
        plain, host = False, None
    if not plain or not host:
        raise UpstreamConfigurationError(f"the upstream URL must be http[s]://host[:port], not {url!r}")
    return Endpoint(parsed.with_path("/"), host)  # an HTTP proxy is sent the URL as it is written here


def is_loopback(endpoint: Endpoint) -> bool:
    """Return whether an endpoint is on this machine."""
    host = endpoint.url.host or ""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def proxy_of(endpoint: Endpoint) -> URL | None:
    """Return the HTTP proxy that the environment names for an endpoint."""
    proxy = get_environ_proxies(str(endpoint.url)).get(endpoint.url.scheme)
    return URL(proxy) if proxy else None


def trusted_roots(session: AioSession) -> str:
    """Return the file of trusted certificates: the AWS configuration's, or what botocore brings along."""
    return str(get_cert_path(session.get_config_variable("ca_bundle") or True))


def tls_context(roots: str) -> ssl.SSLContext:
    """Return the TLS configuration for a file of trusted certificates. It reads the disk: call it from a thread.

    Raises:
        UpstreamConfigurationError: the file cannot be read.
    """
    try:
        context = ssl.create_default_context(cafile=roots)
    except OSError as error:
        raise UpstreamConfigurationError(f"cannot read trusted certificates from {roots}: {error}") from error
    context.set_alpn_protocols(["http/1.1"])
    return context


class Endpoints:
    """The endpoints of one region.

    Args:
        session: for botocore's data and the AWS configuration.
        region: the region.
        override: the operator's URL, or None.

    Raises:
        botocore.exceptions.EndpointProviderError: the region has no such endpoint (FIPS, dual-stack).
    """

    def __init__(self, session: AioSession, region: str, override: Endpoint | None) -> None:
        for name in UNFOLLOWED_VARIABLES:
            if override is None and name in os.environ:
                _log.warning("endpoint_not_followed", variable=name, reason="it is for producers; set --upstream URL")
        self._override = override
        self._remembered: dict[tuple[str | None, str | None], Endpoint] = {}
        loader = session.get_component("data_loader")
        self._rules = EndpointProvider(
            loader.load_service_model("kinesis", "endpoint-rule-set-1"), loader.load_data("partitions")
        )
        self._parameters: dict[str, Any] = {
            "Region": region,
            "UseFIPS": bool(session.get_config_variable("use_fips_endpoint")),
            "UseDualStack": bool(session.get_config_variable("use_dualstack_endpoint")),
            "OperationType": "data",
        }
        self._account_id_mode = session.get_config_variable("account_id_endpoint_mode")
        self.regional = override or endpoint_of(self._rules.resolve_endpoint(**self._parameters).url)

    def for_put(self, stream_arn: str | None, account_id: str | None) -> Endpoint:
        """Return the endpoint for puts to a stream.

        Args:
            stream_arn: the stream's ARN where it is addressed by ARN.
            account_id: the account that the credentials name, if they do.
        """
        if self._override is not None:
            return self._override
        key = (stream_arn, account_id)
        endpoint = self._remembered.get(key)
        if endpoint is None:
            endpoint = self._resolve(stream_arn, account_id)
            if len(self._remembered) >= ENDPOINTS_REMEMBERED_MAX:
                self._remembered.clear()
            self._remembered[key] = endpoint
        return endpoint

    def _resolve(self, stream_arn: str | None, account_id: str | None) -> Endpoint:
        known = {"StreamARN": stream_arn, "AccountId": account_id, "AccountIdEndpointMode": self._account_id_mode}
        parameters = {name: value for name, value in known.items() if value is not None}
        try:
            return endpoint_of(self._rules.resolve_endpoint(**self._parameters, **parameters).url)
        except EndpointProviderError as error:
            # An ARN of another partition, say: the service itself knows the right words to refuse it with.
            _log.warning("endpoint_unresolved", stream_arn=stream_arn, reason=str(error), used=self.regional.host)
            return self.regional
