"""The recorded runs: functions of plain arguments that give a row, a topic a file."""
