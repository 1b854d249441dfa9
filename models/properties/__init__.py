from models.properties.examination import Examination, examine

__all__ = ["Examination", "examine"]
