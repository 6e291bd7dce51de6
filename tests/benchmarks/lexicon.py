"""The words that the synthetic corpus is written with: English by frequency, Chinese clauses.

Only data and how words are formed from it; nothing here draws at random.
"""

FUNCTION_WORDS = """
the of and to a in that is was he for it with as his on be at by had not are but from or have an they which
one you were all her she there would their we him been has when who will no more if out so up said what its
about than into them can only other time new some could these two may first then do any like my now over
such our man me even most made after also well did many before must years through much your way down should
because each just those people too how little state good very make world still see own work long here get
both between life being under never day same another know year while last might great against where off came
take himself few house during without
"""
"""The commonest English words, commonest first."""

STEMS = """
act add age air allow appear area arm art ask attend back balance bank base bear begin believe bind board
boat body book border bottle break bridge bright build burn call camp card care carry case cast cause cell
center chain chair chance change charge check church city claim class clean clear climb clock close cloth
cloud coast coin cold collect color column compare complete compound condition connect consider contain
control cook copy corner cost count country course cover cross crowd current custom dance danger dark deal
decide deep degree deliver depend describe desert design detail develop differ direct discover discuss
distance divide doctor double doubt draw dream dress drive drop dry earth edge effect electric element end
energy engine enter equal event exact example except exercise expect experience explain express extend eye
face fact family farm fast favor feel field fight figure fill final find finish fire fish fit flat floor
flow flower follow food foot force forest form forward found frame free fresh friend front fruit garden
gather gentle glass govern grain grand grass ground group grow guard guess guide hand happen hard head hear
heart heat heavy help high hill history hold hope hour human hunt hurry idea imagine inch include increase
indicate industry insect instant instrument interest invent iron island join journey jump keep kind king
knowledge lake language large laugh law lay lead learn leave length letter level lift light limit line
liquid list listen live locate machine magnet main major map mark market mass master match material matter
mean measure meat meet metal method middle million mind mine minute mix model modern moment month morning
motion mount mountain mouth move music nation nature need neighbor night noise normal north note notice
number object observe occasion occur ocean offer office oil open operate opinion orbit order organ original
oxygen page paint pair paper paragraph parent part party pass past path pattern pay perhaps period person
phrase pick picture piece pitch place plain plan plane planet plant play point pole poor populate port
position possible post pound power practice prepare present press print problem process produce product
proper property protect prove provide public pull push question quick quiet race radio rail rain raise range
reach read reason receive record region relate remember repeat reply represent require rest result return
rhythm rich ride ring rise river road rock roll room root rope round rule safe sail salt sand save scale
school science score season seat second section seed segment select sense sentence separate serve settle
shape share sharp sheet shell ship shoe shop short shoulder shout show side sight sign silent silver similar
simple single skill skin sleep slow small smile snow soft soil soldier solution solve song sound south space
speak special speech speed spell spend spread spring square stand star start station stay steam steel step
stick stone store storm story straight strange stream street stretch strong student study substance success
sudden sugar suggest suit summer supply support surface surprise swim symbol system table talk teach team
temper test thick thin think thought thread throw tone tool touch town track trade train travel tree
triangle trip trouble truck trust tube turn type unit usual valley value vary view village visit voice vowel
wait walk wall warm wash watch water wave wear weather weight wheel white wide wild window winter wire wish
wonder wood word write yard yellow young
"""

ENDINGS = ("", "s", "ed", "ing", "er", "ly", "al", "ment", "able", "ful", "less", "ness", "ation", "ity")
"""Every stem is a word with each of these, the plain stems first."""

CHINESE_CLAUSES = (
    """
用户最近观看了多个短视频|这些内容主要与旅行和美食有关|我们可以推断他对户外运动很感兴趣|平台根据历史行为进行个性化推荐
晚上八点以后的点击率明显更高|评论区里有不少人提到了背景音乐|作者每周更新两到三次|视频时长大多在一分钟以内|他在最后一个视频上停留了很久
收藏和分享说明内容质量较好|对广告的反应则比较冷淡|新发布的作品还没有足够的反馈|模型需要同时考虑长期兴趣和短期意图|这位用户来自南方的一座城市
天气转凉之后烹饪类视频变多了|相似人群也喜欢手工和园艺|价格不是他最关心的因素|直播间里的互动非常频繁|请注意不要重复推荐同一个作者|总体来看兴趣正在发生变化
第一部分介绍了研究的背景|实验结果表明方法是有效的|数据集中包含一百万条记录|与去年相比增长了百分之十二|火车站附近新开了一家书店|孩子们在公园里放风筝
历史上的这座城市以丝绸闻名|科学家发现了一种新的材料|音乐会将在周末举行|老师要求学生写一篇关于海洋的作文
""".replace("\n", "|")
    .strip("|")
    .split("|")
)

CHINESE_QUESTIONS = (
    "请预测用户接下来可能会看什么",
    "根据下面的浏览记录推荐下一个内容",
    "这些视频有什么共同点",
    "用户为什么会喜欢它",
    "请把它们按照兴趣程度排序",
)
ENGLISH_QUESTIONS = (
    "What will this person watch next",
    "Recommend one more item for this history",
    "What do these items have in common",
    "Why would somebody like it",
    "Please sort them by how interesting they are",
)
SYSTEM_PROMPTS = (
    "You are a recommender that answers with items.",
    "你是一个短视频推荐助手，请用简洁的语言回答。",
)
BEHAVIOURS = ("观看过：", "点赞过：", "Watched to the end: ", "Shared with friends: ", "收藏：", "Bought: ")


def english_words() -> list[str]:
    """All English words, commonest first."""
    formed = [_with_ending(stem, ending) for ending in ENDINGS for stem in STEMS.split()]
    return list(dict.fromkeys([*FUNCTION_WORDS.split(), *formed]))


def _with_ending(stem: str, ending: str) -> str:
    if stem.endswith("e") and ending[:1] in ("e", "i", "a"):
        return stem[:-1] + ending
    if stem.endswith("y") and ending in ("s", "ed", "er"):
        return stem[:-1] + "i" + ("es" if ending == "s" else ending)
    return stem + ending
