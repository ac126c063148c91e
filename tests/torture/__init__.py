"""The torture test: many clients in other processes, the server killed with SIGKILL at random instants.

`run` leads, `worker` is a process of clients, `json_carrier` a third way to connect, `journal` what the clients write
down, and `check` the judgement over it.
"""
