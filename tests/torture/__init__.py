"""The torture test: many clients in other processes, the server killed with SIGKILL at random instants.

`run` leads, `server` is the process that is killed, `worker` a process of clients, `json_carrier` a third way to
connect, `journal` what the clients write down, and `check` the judgement over it.
"""
