"""What setup.cfg cannot say: the folders recipes/ and web/ are installed inside the package."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["sqcodec*"]), "sqcodec.recipes", "sqcodec.web"],
    package_dir={"sqcodec.recipes": "recipes", "sqcodec.web": "web"},
)
