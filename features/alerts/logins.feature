# Does somebody guess passwords? A few refused logins come from people, many come from programs. If they come from one
# address, it is a program with an old password, or an attacker whom fail2ban should have banned. If they come from many
# addresses, it is an attack on all accounts.
#
# What to do: the failure names the addresses with the most. Ban them, or contact their users. Adjust the numbers to
# what is normal on your server: stepwatch_mail_log_logins_refused on /metrics shows it.
#
# Needs in stepwatch.yml: host "mx1" with log, either {file: /var/log/mail.log} or {journal: [postfix@-.service,
# dovecot.service]}. The user of stepwatch must be able to read it: group adm for the file, group systemd-journal for
# the journal. If Postfix and Dovecot write two files, define a host for each, and write the scenarios for both. Read
# Dovecot's log before Postfix's: Postfix logs a refusal also when Dovecot's account lookup is down, and only Dovecot's
# log tells them apart.
@every:1m @timeout:50s
Feature: Refused logins

  Background:
    When I read the mail log of "mx1"

  Scenario: Nobody guesses passwords
    Then fewer than 100 logins were refused in the last 10 minutes

  Scenario: No address is refused again and again
    Then fewer than 20 logins were refused from any one address in the last 10 minutes

  # Somebody searches for open relays all day. This many attempts deserve a look at who it is. 454 is the default of
  # Postfix.
  Scenario: Nobody tries to relay in bulk
    Then fewer than 500 messages were rejected with 554 in the last 60 minutes
    And fewer than 500 messages were rejected with 454 in the last 60 minutes
