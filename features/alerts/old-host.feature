# After a move to another host: does anybody still use the old one? When this scenario has passed for a week or two, you
# may switch the old host off. The failure names everybody who reads mail there (IMAP, POP3) or sends with a login, with
# the address that they come from. Their program still has the name of the old host, or a DNS record still leads there.
#
# Needs in stepwatch.yml: host "old" with the log of the old machine. Run stepwatch there, or copy the log by syslog. No
# scenario of stepwatch itself may log in there meanwhile. If Dovecot writes a log of its own, name that one, and write a
# second scenario for the log of the mail server. The result is UNKNOWN when the log could not have shown a use: when no
# server writes to it, when nothing was written for a day, or when a line may be a login in a wording that is not known.
@every:15m @timeout:50s
Feature: The old host

  Scenario: Nobody uses it any more
    When I read the mail log of "old"
    Then nobody used the host "old" in the last 24 hours
