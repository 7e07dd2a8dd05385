"""Use cases: functions, and a class where one has a state. Collaborators come by keyword, results go back by return."""
