"""Operations on rooms, their channels and participants."""
