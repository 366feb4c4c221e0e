from __future__ import annotations

from collections import Counter
from importlib import resources

import pytest

from wideresnet.datasets.labels import LABEL_LISTS, format_labels, parse_labels, read_labels, translated
from wideresnet.errors import ConfigError, DataError
from wideresnet.records import Labels


@pytest.mark.parametrize(
    ("name", "classes"), [("imagenet", 1000), ("cifar10", 10), ("cifar100", 100), ("svhn", 10)]
)
def test_the_lists_that_come_along(name, classes):
    labels = read_labels(name)
    assert len(labels.names) == classes
    assert parse_labels(format_labels(labels)) == labels


def test_every_list_in_the_package_is_known():
    assert {name for name in LABEL_LISTS if read_labels(name)} == set(LABEL_LISTS)


def test_imagenet_is_in_the_order_of_the_sorted_ids():
    labels = read_labels("imagenet")
    assert list(labels.ids) == sorted(set(labels.ids))
    assert (labels.ids[0], labels.names[0]) == ("n01440764", "tench, Tinca tinca")
    assert labels.names[281].startswith("tabby")
    assert (labels.ids[999], labels.names[999].split(",")[0]) == ("n15075141", "toilet tissue")


def test_the_two_cranes_stay_two():
    """The bird and the machine: names repeat, ids don't."""
    labels = read_labels("imagenet")
    assert [name for name, times in Counter(labels.names).items() if times > 1] == ["crane"]
    assert [index for index, name in enumerate(labels.names) if name == "crane"] == [134, 517]


def test_cifar_lists_are_the_official_order():
    assert read_labels("cifar10").names[:4] == ("airplane", "automobile", "bird", "cat")
    fine = read_labels("cifar100").names
    assert list(fine) == sorted(fine)
    assert (fine[0], fine[99]) == ("apple", "worm")


def test_an_unknown_list_gets_a_suggestion():
    with pytest.raises(ConfigError) as caught:
        read_labels("cifar-10")
    assert "'cifar10'" in caught.value.hint


def test_line_ends_and_byte_order_marks_of_other_systems():
    assert parse_labels("\ufeffa\r\nb\r\n") == Labels(("a", "b"))
    assert parse_labels("n1\tcat\nn2\tcat") == Labels(("cat", "cat"), ("n1", "n2"))


@pytest.mark.parametrize(
    "text", ["", "a\n\nb\n", "n1\tcat\ndog\n", "a\tb\tc\n", "\tcat\n", "n1\tcat\nn1\tdog\n"]
)
def test_what_is_no_label_list_is_an_error(text):
    with pytest.raises(DataError):
        parse_labels(text)


@pytest.mark.parametrize("name", ["", " ", "a\tb", "a\nb", "a\x85b"])
def test_names_that_would_break_the_lines_are_not_written(name):
    with pytest.raises(DataError):
        format_labels(Labels((name, "fine")))


# Other languages


@pytest.mark.parametrize("name", LABEL_LISTS)
def test_every_list_has_its_chinese_names(name):
    """One for each class, no two the same: the cranes differ in Chinese. Ids stay, English is what it was."""
    labels = read_labels(name)
    chinese = translated(labels, "zh", name)
    assert chinese.ids == labels.ids
    assert len(chinese.names) == len(set(chinese.names)) == len(labels.names)
    assert not any("," in name or name != name.strip() for name in chinese.names)
    assert translated(labels, "en", name) is labels


def test_the_chinese_list_of_imagenet_has_the_ids_of_the_english_one():
    """Line by line: a line too many would shift all that follow."""
    text = resources.files("wideresnet.datasets.labels").joinpath("imagenet.zh.txt").read_text("utf-8")
    assert parse_labels(text).ids == read_labels("imagenet").ids


# Well-known classes from all over the range, looked up by hand.
CHINESE = {
    0: "丁鲷", 1: "金鱼", 9: "鸵鸟", 15: "旅鸫", 30: "牛蛙", 51: "三角龙", 71: "蝎子", 92: "蜂虎",
    96: "巨嘴鸟", 103: "鸭嘴兽", 107: "水母", 130: "火烈鸟", 134: "鹤", 145: "国王企鹅", 151: "吉娃娃",
    207: "金毛寻回犬", 217: "英国史宾格犬", 250: "西伯利亚哈士奇", 263: "彭布罗克威尔士柯基犬", 281: "虎斑猫",
    292: "老虎", 309: "蜜蜂", 340: "斑马", 387: "小熊猫", 388: "大熊猫", 404: "客机", 407: "救护车",
    430: "篮球", 445: "比基尼", 482: "盒式磁带播放机", 491: "链锯", 497: "教堂", 504: "马克杯", 517: "起重机",
    566: "圆号", 569: "垃圾车", 571: "加油机", 574: "高尔夫球", 605: "iPod", 643: "面具", 666: "研钵",
    701: "降落伞", 779: "校车", 817: "跑车", 850: "泰迪熊", 879: "雨伞", 920: "交通信号灯", 937: "西兰花",
    954: "香蕉", 963: "披萨", 980: "火山", 985: "雏菊", 992: "伞菌", 999: "卫生纸",
}  # fmt: skip


def test_chinese_names_stand_where_the_english_ones_do():
    names = translated(read_labels("imagenet"), "zh", "imagenet").names
    assert {index: names[index] for index in CHINESE} == CHINESE
    assert translated(read_labels("cifar100"), "zh", "cifar100").names[99] == "蠕虫"
    assert translated(read_labels("cifar10"), "zh", "cifar10").names[3] == "猫"


@pytest.mark.parametrize(
    ("labels", "list_name"),
    [
        (Labels(("cat", "dog")), ""),
        (Labels(("cat", "dog")), "cifar10"),
        (Labels(read_labels("cifar10").names[::-1]), "cifar10"),
        (Labels(("a",) * 1000, read_labels("imagenet").ids[::-1]), "imagenet"),
    ],
)
def test_labels_of_ones_own_have_no_translation(labels, list_name):
    """Nor has a list that another name was given to."""
    assert translated(labels, "en", list_name) is labels
    with pytest.raises(ConfigError, match="no names in 'zh'") as caught:
        translated(labels, "zh", list_name)
    assert "--labels" in caught.value.hint
