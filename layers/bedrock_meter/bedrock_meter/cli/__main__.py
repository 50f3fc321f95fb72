"""``python -m bedrock_meter.cli``: the command, also where it is not installed as one."""

from bedrock_meter.cli.main import main

main()
