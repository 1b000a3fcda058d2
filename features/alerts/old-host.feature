# After a move to another host: does anybody still use the old one? It may be switched off once this has passed for a week or two.
# Whoever reads mail there (IMAP, POP3) or sends with a login is named in the failure, with the address that he comes from: his
# program still has the old host's name, or a DNS record still leads there.
#
# Needs in stepwatch.yml: host "old" with log, of the old machine, so stepwatch runs there, or the log is brought over by syslog.
# No scenario of stepwatch itself may log in there meanwhile.
@every:15m @timeout:50s
Feature: The old host

  Scenario: Nobody uses it any more
    When I read the mail log of "old"
    Then nobody used the host "old" in the last 24 hours
