"""What a bundle was made with, as a CycloneDX 1.5 document; equal environments give equal bytes."""

from importlib.metadata import distributions

from provisioning.unsigned import document


def installed_sbom(name: str, version: str) -> bytes:
    """Return the SBOM of bundle `name`: the distributions installed in this Python, by name and version."""
    # What an interrupted installation left has no name.
    whole = (found for found in distributions() if found.metadata["Name"])
    installed = sorted({(found.metadata["Name"].lower(), found.version) for found in whole})
    components = [
        {"type": "library", "name": library, "version": held, "purl": f"pkg:pypi/{library}@{held}"}
        for library, held in installed
    ]
    return document(
        {
            "bomFormat": "CycloneDX",
            "specVersion": "1.5",
            "version": 1,
            "metadata": {"component": {"type": "machine-learning-model", "name": name, "version": version}},
            "components": components,
        }
    )
