from models.properties.examination import PROPERTIES, Examination, examine

__all__ = ["PROPERTIES", "Examination", "examine"]
