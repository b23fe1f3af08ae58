"""The options of a version that are of offloading, checked before it is sent: as the job will read them."""

from urllib.parse import urlsplit

from udfs.errors import ArtifactError, ConfigError, ModelLoadError
from udfs.formats import import_format
from udfs.models.places import ENDPOINT_SCHEMES, AllowedPlaces, Location
from udfs.models.updates import PublishModel
from udfs.offload.lane_settings import check_inline, check_names, split_options
from udfs.options import OptionReader
from udfs.remotes import REMOTES, Surroundings


def check_options(update: PublishModel) -> str | None:
    """Check what can be known of a version's options without its server, its file or the job's secrets.

    Args:
        update: the version, as it is to be sent. One that is scored inline has no options of offloading.

    Returns:
        Why the options of its protocol can't be checked here; None where they are right.

    Raises:
        ArtifactError: the option ``url`` is no place of a server.
        ConfigError: there is none where a server scores the version.
        ModelLoadError: another option that is unknown, wrong, missing, or of offloading where nothing is
            offloaded.
    """
    if update.format in REMOTES:
        return _check_server(update)
    if not update.is_offloaded:
        check_inline(update.options)
        return None
    split_options(update.options)
    if "in_flight" in update.options:
        raise ModelLoadError(
            f"option in_flight: {update.model} is scored by worker processes, a batch each at a time; "
            f"the option workers says how many there are"
        )
    return None


def _check_server(update: PublishModel) -> str | None:
    url = update.options.get("url")
    if not isinstance(url, str):
        raise ConfigError(f"format {update.format} needs --option url=..., where the server is")
    Location.parse(url, ENDPOINT_SCHEMES)
    try:
        protocol = import_format(REMOTES, update.format)
    except ModelLoadError as error:
        return f"its options are checked by the job alone: {error}"
    if "workers" in update.options:
        raise ModelLoadError(
            f"option workers: a server scores {update.model}; the option in_flight says how many requests it "
            f"gets at a time"
        )
    check_names(update.options, protocol.OPTIONS)
    _, options = split_options(update.options)
    # What the name stands for is known where the job runs.
    OptionReader(options, protocol.OPTIONS).text("credentials")
    asked = {name: value for name, value in options.items() if name != "credentials"}
    protocol.connect(asked, Surroundings(only_place(url)))
    return None


def only_place(url: str) -> AllowedPlaces:
    """A server as the only one that may be asked, wherever it is.

    Raises:
        ModelLoadError: it is no URL of a server.
    """
    try:
        where = urlsplit(url)
        host = where.hostname or ""
        return AllowedPlaces([f"{where.scheme}://{where.netloc}"] if host else [], [host] if host else [])
    except (ArtifactError, ValueError) as error:
        raise ModelLoadError(f"option url: {error}") from error
