# Does somebody try to guess passwords? fail2ban bans an address that fails too often. Some bans are normal. Many at
# once mean an attack from many machines, and bans do little against that: check which accounts they try ("journalctl -t
# dovecot", the mail log). The scenario also fails if fail2ban itself is not running.
#
# Needs nothing in stepwatch.yml, but must run on the machine itself and as root, because fail2ban answers only root.
# Delete the jails that you have not enabled ("fail2ban-client status" lists yours).
@every:5m
Feature: Bans

  Scenario Outline: Few addresses are banned for wrong passwords by <jail>
    When I read the bans of fail2ban's jail "<jail>"
    Then fewer than 50 addresses are banned

    Examples:
      | jail         |
      | postfix-sasl |
      | dovecot      |
      | sshd         |
