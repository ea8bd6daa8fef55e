"""Words too frequent in English and Russian to tell documents apart; e stands for yo, as in tokens."""

# ruff: noqa: RUF001 - the Cyrillic letters are the content.

_ENGLISH = """
a about after all also am an and any are as at be because been before being but by can could did do does doing
for from had has have having he her hers him his how i if in into is it its just me more most my no nor not of
on once only or other our ours out over own re s same she should so some such t than that the their theirs them
then there these they this those through to too under until up very was we were what when where which while who
whom why will with would you your yours ll ve
"""

_RUSSIAN = """
а без более бы был была были было быть в вам вас ведь весь во вот все всего всех вы где да даже для до его ее ей
ему если есть еще же за здесь и из или им их к как какая какой когда которая которое которые который кто ли
либо мне может мы на над надо наш не него нее нет ни них но ну о об однако он она они оно от очень по под при с
со так также такой там те тем то того тоже той только том тот ту ты у уже хотя чего чей чем что чтобы чья эта
эти это этого этой этом этот эту я
"""

STOP_WORDS = frozenset(_ENGLISH.split()) | frozenset(_RUSSIAN.split())
