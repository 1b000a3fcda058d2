# Mail moves to a new host, and for weeks some members still have the old one in their settings. As long as both hosts
# are promised, both must work: they accept mail, and they show the same mailbox. A failing row names the host. Delete
# the rows of the old host on the day when it is switched off.
#
# Needs in stepwatch.yml: accounts "alice" and "bob" as they are now; accounts "alice-old" and "alice-new" with the
# address and password of "alice", and with the old or the new host as smtp; and under hosts the addresses of "old" and
# "new".
@every:5m
Feature: Mail during a move to a new host

  Scenario Outline: Submission to the <host> host
    When I send a message from "<sender>" to "bob" via <port>
    Then it is accepted within 5s
    And "bob" receives it over IMAP within 60s

    Examples:
      | host | sender    | port |
      | old  | alice-old | 587  |
      | old  | alice-old | 465  |
      | new  | alice-new | 587  |
      | new  | alice-new | 465  |

  Scenario Outline: The mailbox through the <host> host
    When I send a message from "alice" to "bob" via 587
    Then "bob" receives it over IMAP at "<host>:<port>" within 60s

    Examples:
      | host | port |
      | old  | 143  |
      | old  | 993  |
      | new  | 143  |
      | new  | 993  |

  Scenario: Both hosts show the same message
    When I send a message from "alice" to "bob" via 587
    Then "bob" receives it over IMAP at "old" within 60s
    And "bob" receives it over IMAP at "new" within 10s
    And it is the same message each time
