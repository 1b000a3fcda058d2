# After a move to another host: does anybody still use the old one? When this scenario has passed for a week or two, you
# may switch the old host off. The failure names everybody who reads mail there (IMAP, POP3) or sends with a login, with
# the address that they come from. Their program still has the name of the old host, or a DNS record still leads there.
#
# Needs in stepwatch.yml: host "old" with the log of the old machine. Run stepwatch there, or copy the log by syslog. No
# scenario of stepwatch itself may log in there meanwhile.
@every:15m @timeout:50s
Feature: The old host

  Scenario: Nobody uses it any more
    When I read the mail log of "old"
    Then nobody used the host "old" in the last 24 hours
