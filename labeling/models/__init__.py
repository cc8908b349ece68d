from labeling.models.label import Label, LabelJob, TeacherReply
from labeling.models.review import Review, ReviewItem
from labeling.models.teacher import Guideline, Teacher

__all__ = ["Guideline", "Label", "LabelJob", "Review", "ReviewItem", "Teacher", "TeacherReply"]
