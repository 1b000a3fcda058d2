# Mail moves to a new host, and for weeks some members still use the old one in their settings. As long as both are
# promised, both must work: mail can be submitted to either, and the mailbox is the same through either. A row that fails
# names the host; delete the old host's rows on the day that it is switched off.
#
# Needs in stepwatch.yml: accounts "alice" and "bob" as they are now; alice once more as "alice-old" and "alice-new", the
# same address and password with smtp of the old host or of the new one; and under hosts the address of "old" and "new".
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
