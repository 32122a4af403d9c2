"""What setup.cfg cannot say: the folder recipes/ is installed inside the package."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["sqcodec*"]), "sqcodec.recipes"],
    package_dir={"sqcodec.recipes": "recipes"},
)
