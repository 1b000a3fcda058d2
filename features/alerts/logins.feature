# Does somebody guess passwords? A few refused logins are people; many are programs. From one address it is a program with an old
# password, or an attacker whom fail2ban should have banned; from many addresses it is an attack on all accounts.
#
# What to do: the failure names the addresses with the most. Ban them, or call whoever sits there. Set the numbers to what is usual
# on your server: stepwatch_mail_log_logins_refused on /metrics shows it.
#
# Needs in stepwatch.yml: host "mx1" with log, either {file: /var/log/mail.log} or {journal: [postfix@-.service, dovecot.service]},
# which stepwatch's user may read: group adm for the file, group systemd-journal for the journal. When Postfix and Dovecot write
# two files, name a host for each, and write the scenarios for both.
@every:1m @timeout:50s
Feature: Refused logins

  Background:
    When I read the mail log of "mx1"

  Scenario: Nobody guesses passwords
    Then fewer than 100 logins were refused in the last 10 minutes

  Scenario: No address is refused again and again
    Then fewer than 20 logins were refused from any one address in the last 10 minutes

  # Open relays are looked for all day; this many attempts are worth a look at who that is. 454 is what Postfix says by default.
  Scenario: Nobody tries to relay in bulk
    Then fewer than 500 messages were rejected with 554 in the last 60 minutes
    And fewer than 500 messages were rejected with 454 in the last 60 minutes
